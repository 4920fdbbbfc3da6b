/* SPDX-License-Identifier: MIT
 *
 * Golden checkpoints copied into the test's folder and changed in one place each.
 */
#ifndef TESTS_EDITED_H
#define TESTS_EDITED_H

#include "support.h"

#include <jansson.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

enum { MODEL = OTIMES_ERR_MODEL, FORMAT = OTIMES_ERR_FORMAT, UNSUPPORTED = OTIMES_ERR_UNSUPPORTED };

typedef struct checkpoint {
    json_t *config, *header;
    unsigned char *data;
    size_t data_bytes;
} checkpoint;

void read_golden(checkpoint *c, const char *name);
void drop_checkpoint(checkpoint *c);
void write_weights(const checkpoint *c);
void write_config(const json_t *config);

/* Of a tensor as a header describes it. */
size_t bytes_of(const json_t *tensor);

/* Members of a JSON text into an object; "DELETE" deletes. */
void edit(json_t *object, const char *changes);

/* Reads a golden, edits configuration and header (NULL: as they are), writes both. */
void write_edited(const char *golden_name, const char *config, const char *weights);

/* Every one of the '|'-separated words is in the message. */
void check_words(const char *words, const char *message, const char *what);

/* Opening fails with this code, one line and these words. */
void refused_path(const char *path, const otimes_model_settings *settings, int code,
                  const char *words, const char *what);
void refused(int code, const char *words, const char *what); /* the test's folder */

/* The model in the test's folder. */
otimes_model *opens(void);

typedef struct bad_case {
    const char *golden, *config, *weights;
    int code;
    const char *words;
} bad_case;

void run_cases(const bad_case *cases, size_t count);

#endif
