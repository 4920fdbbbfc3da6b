/* SPDX-License-Identifier: MIT
 *
 * What the targets of the fuzzer that open models share: files that lie in memory, and readers that
 * ask for everything once something has opened.
 *
 * A target is LLVMFuzzerTestOneInput in a file of its own. An execution begins with fuzz_begin, lays
 * its input down as files with fuzz_file, opens them by fuzz_path, and ends with fuzz_end.
 */
#ifndef OTIMES_TESTS_FUZZ_H
#define OTIMES_TESTS_FUZZ_H

#include <otimes/model.h>

#include "format/store.h"
#include "frame.h"

/* Lays a file down in the only folder there is until the end of the execution. `data` outlives it and
 * ends where the file does, so that a byte read beyond it is seen. */
void fuzz_file(const char *name, const void *data, size_t bytes);

/* Lays down the config.json of a GPT-2 of one layer, one head, d_model 2, 3 tokens and 2 positions. */
void fuzz_gpt2_config(void);

/* The folder, and a file in it; static text. What the library asks the system for must be one of
 * these: any other path ends the process. */
#define FUZZ_FOLDER "/fuzz"
const char *fuzz_path(const char *name);

/* A call's error says something when and only when it failed; gives back whether it succeeded. */
int fuzz_ok(int rc, const otimes_err *err);

/* Every byte of every entry, and numbers of each as float32. */
void fuzz_read_store(const otimes_store *store);

/* All that a model has to tell and to read: facts, tensors, tokens, layers, experts, both ends. */
void fuzz_read_model(const otimes_model *model);

/* Opens a path as a store and then as a model, and reads whatever opened. */
void fuzz_open(const char *path);

/* A file of the source tree, from environment OTIMES_SOURCE or the current folder on, in memory that
 * is kept; ends the process when it is not there. Before the first execution alone. */
const void *fuzz_source(const char *relative, size_t *bytes);

#endif
