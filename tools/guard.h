/* SPDX-License-Identifier: MIT
 *
 * A damaged file can make the HDF5 library itself crash (1.10 follows references into global heaps
 * without looking). Between guard_begin and guard_end that ends the program with one line, as any
 * other damage does.
 */
#ifndef GUARD_H
#define GUARD_H

/* Who speaks, and the exit status; `command` must live on. */
void guard_command(const char *command, int status);

/* What is being written and to be removed then; NULL: nothing. The name must live on. */
void guard_output(const char *path);

/* The name of the file that is read must live until guard_end. Not nested. */
void guard_begin(const char *path);
void guard_end(void);

#endif
