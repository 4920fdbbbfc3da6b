/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_TESTS_FUZZ_SYSTEM_H
#define OTIMES_TESTS_FUZZ_SYSTEM_H

/* From here on the library's files are those in memory; and no longer, when all must be closed. */
void fuzz_system_begin(void);
void fuzz_system_end(void);

#endif
