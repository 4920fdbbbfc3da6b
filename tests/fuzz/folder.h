/* SPDX-License-Identifier: MIT
 *
 * A real folder, in shared memory, for targets whose reader asks the system for more than maps of files.
 */
#ifndef OTIMES_TESTS_FUZZ_FOLDER_H
#define OTIMES_TESTS_FUZZ_FOLDER_H

#include <stddef.h>

/* The folder, of this process alone; it is removed at its end. */
const char *fuzz_disk_folder(void);

/* The path of a file in it that now holds these bytes; valid until the next eight calls. */
const char *fuzz_disk_file(const char *name, const void *data, size_t size);

#endif
