/* SPDX-License-Identifier: MIT
 *
 * Writers of torch's two containers, byte by byte, so that any byte can be wrong; and the checks
 * that a file opens or is refused.
 */
#ifndef OTIMES_TESTS_TORCH_BYTES_H
#define OTIMES_TESTS_TORCH_BYTES_H

#include "support.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* Bytes that grow; a zeroed one is empty. */
typedef struct bytes {
    unsigned char *data;
    size_t length, capacity;
} bytes;

void put(bytes *b, const void *data, size_t length);
void put_le(bytes *b, uint64_t value, int width);
void put_text(bytes *b, const char *text); /* without its NUL */
void release(bytes *b);

/* ---- pickle opcodes ---- */

/* Opcodes as a literal string: PUT_OPS(&b, "\x80\x02}."). */
#define PUT_OPS(b, ops) put((b), (ops), sizeof(ops) - 1)

void put_int(bytes *b, int64_t value);       /* LONG1 */
void put_string(bytes *b, const char *text); /* BINUNICODE */
void put_global(bytes *b, const char *module, const char *name);

/* A tensor as _rebuild_tensor_v2 writes it: what may be wrong about it. */
typedef struct tensor_spec {
    const char *type, *key;
    int64_t numel, offset;
    int ndim;
    int64_t dim[8], stride[8];
} tensor_spec;

void put_tensor(bytes *b, const tensor_spec *spec, bool legacy);

/* Two rows of three out of storage "0", from its element 2 to 8. */
extern const tensor_spec two_rows;

/* {"w": two_rows, "n": 3} */
void put_state_dict(bytes *b, bool legacy);

/* ---- zip ---- */

typedef struct zip_part {
    const char *name;
    const void *data;
    size_t length;
    unsigned method, flags;
    uint64_t claimed; /* length that the directory tells, when not 0 */
    uint64_t header;  /* where the directory says the local header is, when not 0 */
    const char *local_name;
    int local_extra; /* what its own header says beyond the extra bytes that are there */
    int descriptor; /* bytes of one behind the data: 12 or 20, and 4 more with a signature; 0: none */
} zip_part;

typedef struct zip_end {
    bool zip64;
    unsigned extra; /* bytes of the zip64 extra field as it says, when not 0 */
    const char *comment;
    uint64_t count, bytes, offset; /* what the end record tells, when not 0 */
    unsigned disk;
} zip_end;

void put_zip(bytes *b, const zip_part *parts, size_t count, const zip_end *end);

/* A checkpoint of these pickle bytes and of storages "0", "1" ... of 64 bytes that count up. */
void put_zip_of(bytes *b, const bytes *pickle, size_t storages);

/* ---- legacy ---- */

void put_legacy_header(bytes *b);

/* ---- checks ---- */

/* Writes the bytes as a file of the temporary folder, and opens it. */
void opens_bytes(otimes_store *store, const bytes *b);

/* It must be refused with that code and all of the '|'-separated words in one line. */
void refused_bytes(const bytes *b, int code, const char *words, const char *what);
void refused_path(const char *path, int code, const char *words, const char *what);

/* It may open or be refused, and nothing else: no byte outside of it is read. */
void survives(const bytes *b);

/* The entry of a group and name; fails the test when it is not there. */
const otimes_entry *entry_of(const otimes_store *store, const char *group, const char *name);

#endif
