/* SPDX-License-Identifier: MIT
 *
 * Models whose files are changed in seeded ways. Whatever a file holds, opening and reading it gives
 * the same values for every tensor that was not touched, or one clear error.
 *
 * What a change touches is found without the library's readers where a format allows it (locate.c);
 * the canonical weights that belong to a tensor are known from the intact model.
 */
#ifndef OTIMES_TESTS_MUTATION_H
#define OTIMES_TESTS_MUTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/model.h"

/* ---- files ---- */

typedef struct bytes {
    unsigned char *data;
    size_t length;
} bytes;

typedef enum file_kind {
    FILE_SAFETENSORS,
    FILE_GGUF,
    FILE_LLAMA2C,
    FILE_TORCH,
    FILE_CONFIG, /* config.json */
    FILE_OTHER   /* an index of shards, a vocabulary */
} file_kind;

typedef struct model_file {
    char name[128];
    file_kind kind;
    bytes content;
} model_file;

enum { MOST_FILES = 12 };

/* A checkpoint in memory. `open` is what is opened in a folder of copies: a file of it, or "". */
typedef struct model_files {
    char name[128], open[128];
    model_file file[MOST_FILES];
    int count;
} model_files;

/* The files of a folder, or one file and the config.json beside it. False when there are none. */
bool files_load(model_files *files, const char *name, const char *path);
void files_free(model_files *files);

/* Zeros, of which one more than `length` may be read. */
bytes bytes_new(size_t length);

/* Writes folder/name anew. */
void file_write(const char *folder, const char *name, const bytes *content);

/* ---- random numbers ---- */

typedef struct dice {
    uint64_t state;
} dice;

dice dice_of(const char *name, uint64_t seed);

/* 0 .. below-1; below is at least 1. */
uint64_t roll(dice *d, uint64_t below);

/* ---- where tensors lie ---- */

/* A tensor's bytes in a file, and its type and shape as its header has them. A checkpoint of torch
 * names a tensor elsewhere than where its numbers are: [also, also_end). */
typedef struct place {
    char name[200], kind[120];
    size_t begin, end, also, also_end;
} place;

/* A number that a format keeps as bytes, little-endian. */
typedef struct field {
    size_t at;
    int width;
} field;

/* What a GGUF file says of its model: where the value of a key stands. */
typedef struct fact {
    char key[120];
    size_t begin, end;
} fact;

typedef struct located {
    bool readable;    /* false: the file contradicts its format */
    size_t structure; /* bytes before the first tensor's; of torch, all that is in none */
    place *place;
    int place_count;
    field *field;
    int field_count;
    fact *fact;
    int fact_count;
} located;

/* Reads a safetensors or GGUF file. */
void locate(located *where, file_kind kind, const bytes *content);

/* Of formats that the tests do not read themselves: from the intact model, opened from this file. */
void locate_opened(located *where, const otimes_model *model, const model_file *file);

const place *located_find(const located *where, const char *name);
void located_free(located *where);

/* ---- changes ---- */

/* What was done, in words. */
typedef struct change {
    char what[200];
} change;

/* Changes a copy of a file, of which it may need to know where things are. `other` lends bytes. */
void change_bytes(bytes *content, const located *where, const bytes *other, dice *d, change *did);

/* Edits the header of a safetensors file, which stays one as far as lengths go. */
void change_header(bytes *content, dice *d, change *did);

/* Edits a JSON text. False: it is none. */
bool change_json(bytes *content, dice *d, change *did);

/* ---- weights ---- */

/* A canonical weight as it was read. Parts of a layer are read one by one: what is in all of them is
 * here as often. */
typedef struct weight {
    otimes_slot slot;
    int part; /* one of OTIMES_PART_*; 0 outside layers */
    int64_t layer, expert;
    int ndim;
    int64_t dim[OTIMES_MAX_DIMS], count;
    float *data;
} weight;

/* What could not be read, and why. */
typedef struct failure {
    otimes_slot slot; /* the first of those that are read together, outside layers */
    int part;
    int64_t layer, expert;
    int code;
} failure;

typedef struct weights {
    weight *weight;
    int64_t count, capacity;
    failure *failure;
    int64_t failures, failure_capacity;
} weights;

/* NULL, or what is wrong with an error that names `where`. */
const char *check_message(int rc, const otimes_err *err, const char *where);

/* Reads every weight of a model. NULL, or what was wrong. */
const char *weights_read(weights *all, const otimes_model *model, const char *where);
const weight *weights_find(const weights *all, const weight *like);
const failure *weights_failure(const weights *all, const weight *like);
void weights_free(weights *all);

/* ---- judgement ---- */

/* A model as it is in its own files. */
typedef struct intact {
    model_files files;
    located where[MOST_FILES];
    otimes_model *model;
    weights weights;
    const char **tensor; /* [weights.count] the file's tensor that each is from */
} intact;

typedef enum outcome {
    OUTCOME_REFUSED, /* not opened */
    OUTCOME_PARTLY,  /* what was touched could not be read, all else was the same */
    OUTCOME_SAME,    /* nothing was touched, all was the same */
    OUTCOME_TOUCHED, /* what was not touched was the same */
    OUTCOMES
} outcome;

/* False when it cannot be opened or read. */
bool intact_open(intact *whole, const char *name, const char *path, const char *folder);
void intact_close(intact *whole);

/* Opens what lies in `folder`, where file number `index` is `changed` and the others intact, and
 * says how it ended by *result and *code. Returns NULL, or what is wrong: static text. */
const char *judge(intact *whole, int index, const bytes *changed, const char *folder,
                  outcome *result, int *code);

#endif
