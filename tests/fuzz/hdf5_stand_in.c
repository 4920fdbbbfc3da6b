/* SPDX-License-Identifier: MIT */
#include "hdf5_stand_in.h"

#include <hdf5.h>
#include <hdf5_hl.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

enum {
    MOST_IDS = 1 << 12,
    FIRST_ID = 100,      /* below: the types that HDF5 has by itself */
    MOST_RANK = 32,      /* of a dataspace, as in HDF5 */
    FAILS = 0xfc,        /* an answer from here on is an error */
    UNUSUAL = 0xe0,      /* a number from here on is one of a list */
    READ_MOST = 1 << 20, /* bytes that a file has in all; what is behind cannot be read */
    TEXTS_MOST = 1 << 10
};

typedef enum thing_kind { CLOSED, ANY, TYPE, SPACE, ATTRIBUTE, DATASET, TRANSFER } thing_kind;

typedef struct thing {
    thing_kind kind;
    H5T_class_t class; /* of a type and of an attribute that has one */
    int variable;      /* a text of any length */
    size_t size;
    int64_t points; /* of a space; -1: cannot be told */
} thing;

static thing things[MOST_IDS];
static int64_t thing_count, open_count, left_to_read;
static const uint8_t *input;
static size_t input_left;
static H5MM_allocate_t text_take;
static H5MM_free_t text_give;
static void *take_info, *give_info;

hid_t H5T_NATIVE_FLOAT_g = 1, H5T_NATIVE_DOUBLE_g = 2, H5T_NATIVE_INT32_g = 3,
      H5T_NATIVE_INT64_g = 4, H5T_C_S1_g = 5, H5P_CLS_FILE_ACCESS_ID_g = 6,
      H5P_CLS_DATASET_XFER_ID_g = 7;

void fuzz_hdf5_begin(const uint8_t *data, size_t size)
{
    input = data;
    input_left = size;
    thing_count = 0;
    open_count = 0;
    left_to_read = READ_MOST;
    text_take = NULL;
}

void fuzz_hdf5_end(void)
{
    FUZZ_REQUIRE(open_count == 0);
}

/* ---- the input ---- */

static unsigned draw(void)
{
    if (!input_left) {
        return 0;
    }
    input_left--;
    return *input++;
}

static int fails(void)
{
    return draw() >= FAILS;
}

static uint64_t draw_number(void)
{
    static const uint64_t unusual[] = {
        9,          1 << 10,   (1 << 16) - 1,           1 << 16,   (1 << 16) + 1,    (1 << 20) - 1,
        1 << 20,    1 << 25,   (1 << 25) + 1,           1 << 28,   (1ULL << 28) + 1, 1ULL << 32,
        1ULL << 40, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    const unsigned byte = draw();
    return byte >= UNUSUAL ? unusual[byte % (sizeof unusual / sizeof *unusual)] : byte % 8;
}

/* Names are static; so are texts, of which whoever asks gets a copy. */
static const char *draw_name(void)
{
    static char longest[600];
    static const char *const names[] = {
        "a",         "b",  "token", "layer",       "score",    "long_name", "units", "formula",
        "labels_of", "_x", "",      "orientation", "\x1b[31m", "\xff",      "a/b",   longest};
    if (!longest[0]) {
        memset(longest, 'n', sizeof longest - 1);
    }
    return names[draw() % (sizeof names / sizeof *names)];
}

/* ---- identifiers ---- */

static hid_t give_out(thing made)
{
    FUZZ_REQUIRE(thing_count < MOST_IDS);
    things[thing_count] = made;
    open_count++;
    return FIRST_ID + thing_count++;
}

static hid_t give_out_unless_it_fails(thing_kind kind)
{
    return fails() || thing_count == MOST_IDS ? -1 : give_out((thing){.kind = kind});
}

/* What is asked about must be open. */
static thing *of(hid_t id)
{
    FUZZ_REQUIRE(id >= FIRST_ID && id - FIRST_ID < thing_count);
    FUZZ_REQUIRE(things[id - FIRST_ID].kind != CLOSED);
    return &things[id - FIRST_ID];
}

static herr_t close_id(hid_t id)
{
    of(id)->kind = CLOSED;
    open_count--;
    return 0;
}

/* ---- the library, errors, property lists ---- */

herr_t H5open(void)
{
    return 0;
}

herr_t H5check_version(unsigned major, unsigned minor, unsigned release)
{
    (void)major, (void)minor, (void)release;
    return 0;
}

herr_t H5dont_atexit(void)
{
    return 0;
}

herr_t H5free_memory(void *block)
{
    free(block);
    return 0;
}

herr_t H5Eget_auto2(hid_t stack, H5E_auto2_t *report, void **data)
{
    (void)stack;
    *report = NULL;
    *data = NULL;
    return 0;
}

herr_t H5Eset_auto2(hid_t stack, H5E_auto2_t report, void *data)
{
    (void)stack, (void)report, (void)data;
    return 0;
}

hid_t H5Pcreate(hid_t class)
{
    return give_out_unless_it_fails(class == H5P_CLS_DATASET_XFER_ID_g ? TRANSFER : ANY);
}

herr_t H5Pclose(hid_t id)
{
    return close_id(id);
}

herr_t H5Pset_fclose_degree(hid_t id, H5F_close_degree_t degree)
{
    (void)of(id), (void)degree;
    return fails() ? -1 : 0;
}

herr_t H5Pset_cache(hid_t id, int unused, size_t slots, size_t bytes, double preemption)
{
    (void)of(id), (void)unused, (void)slots, (void)bytes, (void)preemption;
    return fails() ? -1 : 0;
}

herr_t H5Pset_vlen_mem_manager(hid_t id, H5MM_allocate_t take, void *with, H5MM_free_t give,
                               void *give_with)
{
    FUZZ_REQUIRE(of(id)->kind == TRANSFER);
    text_take = take;
    take_info = with;
    text_give = give;
    give_info = give_with;
    return fails() ? -1 : 0;
}

H5D_layout_t H5Pget_layout(hid_t id)
{
    (void)of(id);
    return (H5D_layout_t)((int)(draw() % 5) - 1);
}

int H5Pget_chunk(hid_t id, int most, hsize_t *dim)
{
    (void)of(id);
    const int rank = fails() ? -1 : (int)(draw() % (MOST_RANK + 1));
    for (int d = 0; d < rank && d < most; d++) {
        dim[d] = draw_number();
    }
    return rank;
}

/* ---- files and objects ---- */

hid_t H5Fopen(const char *path, unsigned flags, hid_t access)
{
    (void)path, (void)of(access);
    FUZZ_REQUIRE(flags == H5F_ACC_RDONLY);
    return give_out_unless_it_fails(ANY);
}

herr_t H5Fclose(hid_t id)
{
    return close_id(id);
}

hid_t H5Oopen(hid_t group, const char *name, hid_t access)
{
    (void)of(group), (void)name, (void)access;
    return give_out_unless_it_fails(DATASET);
}

herr_t H5Oclose(hid_t id)
{
    return close_id(id);
}

H5I_type_t H5Iget_type(hid_t id)
{
    (void)of(id);
    return draw() % 8 == 7 ? H5I_GROUP : H5I_DATASET;
}

/* As HDF5 does: the whole length, and of the name as much as there is room for. */
ssize_t H5Iget_name(hid_t id, char *name, size_t room)
{
    (void)of(id);
    const char *said = draw_name();
    if (fails()) {
        return -1;
    }
    const size_t length = strlen(said) + 1;
    if (room) {
        const size_t kept = length < room ? length : room - 1;
        name[0] = '/';
        memcpy(name + 1, said, kept > 0 ? kept - 1 : 0);
        name[kept] = '\0';
    }
    return (ssize_t)length;
}

herr_t H5Literate(hid_t group, H5_index_t index, H5_iter_order_t order, hsize_t *at,
                  H5L_iterate_t visit, void *data)
{
    (void)of(group), (void)index, (void)order;
    if (fails()) {
        return -1;
    }
    for (unsigned left = draw() % 8; left > 0; left--) {
        const H5L_info_t info = {.type = draw() % 8 == 7 ? H5L_TYPE_SOFT : H5L_TYPE_HARD};
        (*at)++;
        const herr_t rc = visit(group, draw_name(), &info, data);
        if (rc) {
            return rc;
        }
    }
    return fails() ? -1 : 0;
}

herr_t H5DSiterate_scales(hid_t dataset, unsigned dimension, int *at, H5DS_iterate_t visit,
                          void *data)
{
    (void)of(dataset), (void)at;
    herr_t rc = 0;
    for (unsigned left = draw() % 3; left > 0 && !rc; left--) {
        const hid_t scale = give_out_unless_it_fails(DATASET);
        if (scale < 0) {
            return -1;
        }
        rc = visit(dataset, dimension, scale, data);
        close_id(scale);
    }
    return rc;
}

htri_t H5DSis_scale(hid_t id)
{
    (void)of(id);
    return fails() ? -1 : (htri_t)(draw() % 2);
}

/* ---- types ---- */

hid_t H5Tcopy(hid_t type)
{
    FUZZ_REQUIRE(type == H5T_C_S1_g);
    return give_out_unless_it_fails(TYPE);
}

herr_t H5Tset_size(hid_t id, size_t size)
{
    of(id)->variable = size == H5T_VARIABLE;
    return fails() ? -1 : 0;
}

herr_t H5Tset_cset(hid_t id, H5T_cset_t set)
{
    (void)of(id), (void)set;
    return fails() ? -1 : 0;
}

herr_t H5Tclose(hid_t id)
{
    return close_id(id);
}

/* A text of no fixed length is as large as a pointer. */
static hid_t draw_type(void)
{
    const unsigned byte = draw();
    thing made = {.kind = TYPE,
                  .class = byte % 16 == 15 ? H5T_COMPOUND
                           : byte % 4 == 0 ? H5T_FLOAT
                           : byte % 4 == 1 ? H5T_INTEGER
                                           : H5T_STRING};
    if (byte >= FAILS || thing_count == MOST_IDS) {
        return -1;
    }
    made.variable = made.class == H5T_STRING && byte % 4 == 3;
    made.size = made.variable ? sizeof(char *) : draw_number();
    return give_out(made);
}

H5T_class_t H5Tget_class(hid_t id)
{
    return of(id)->class;
}

size_t H5Tget_size(hid_t id)
{
    return of(id)->size;
}

htri_t H5Tis_variable_str(hid_t id)
{
    return of(id)->variable;
}

H5T_sign_t H5Tget_sign(hid_t id)
{
    (void)of(id);
    return (H5T_sign_t)((int)(draw() % 3) - 1);
}

/* ---- spaces ---- */

hid_t H5Screate(H5S_class_t class)
{
    FUZZ_REQUIRE(class == H5S_SCALAR);
    const hid_t made = give_out_unless_it_fails(SPACE);
    if (made >= 0) {
        of(made)->points = 1;
    }
    return made;
}

hid_t H5Screate_simple(int rank, const hsize_t *dim, const hsize_t *most)
{
    (void)most;
    FUZZ_REQUIRE(rank > 0 && rank <= MOST_RANK);
    const hid_t made = give_out_unless_it_fails(SPACE);
    if (made >= 0) {
        thing *space = of(made);
        space->points = 1;
        for (int d = 0; d < rank; d++) {
            FUZZ_REQUIRE(!__builtin_mul_overflow(space->points, dim[d], &space->points));
        }
    }
    return made;
}

herr_t H5Sclose(hid_t id)
{
    return close_id(id);
}

hssize_t H5Sget_simple_extent_npoints(hid_t id)
{
    (void)of(id);
    const unsigned byte = draw();
    return byte >= FAILS ? -1 : byte % 4 == 3 ? 2 : 1;
}

H5S_class_t H5Sget_simple_extent_type(hid_t id)
{
    (void)of(id);
    const unsigned byte = draw();
    return byte >= FAILS   ? H5S_NO_CLASS
           : byte % 8 == 7 ? H5S_NULL
           : byte % 8 == 6 ? H5S_SCALAR
                           : H5S_SIMPLE;
}

int H5Sget_simple_extent_ndims(hid_t id)
{
    thing *space = of(id);
    const unsigned byte = draw();
    const int rank = byte >= FAILS     ? -1
                     : byte >= UNUSUAL ? (int)(byte % (MOST_RANK + 1))
                                       : 1 + (int)(byte % 3);
    space->points = rank; /* no more lengths than it said are written below */
    return rank;
}

int H5Sget_simple_extent_dims(hid_t id, hsize_t *dim, hsize_t *most)
{
    const thing *space = of(id);
    (void)most;
    if (fails()) {
        return -1;
    }
    for (int64_t d = 0; d < space->points; d++) {
        dim[d] = draw_number();
    }
    return (int)space->points;
}

herr_t H5Sselect_hyperslab(hid_t id, H5S_seloper_t how, const hsize_t *start, const hsize_t *stride,
                           const hsize_t *count, const hsize_t *block)
{
    (void)of(id), (void)how, (void)start, (void)stride, (void)count, (void)block;
    return fails() ? -1 : 0;
}

/* ---- attributes ---- */

htri_t H5Aexists(hid_t object, const char *name)
{
    (void)of(object), (void)name;
    return fails() ? -1 : (htri_t)(draw() % 2);
}

hid_t H5Aopen(hid_t object, const char *name, hid_t access)
{
    (void)of(object), (void)name, (void)access;
    return give_out_unless_it_fails(ATTRIBUTE);
}

herr_t H5Aclose(hid_t id)
{
    return close_id(id);
}

hid_t H5Aget_type(hid_t id)
{
    FUZZ_REQUIRE(of(id)->kind == ATTRIBUTE);
    return draw_type();
}

hid_t H5Aget_space(hid_t id)
{
    FUZZ_REQUIRE(of(id)->kind == ATTRIBUTE);
    return give_out_unless_it_fails(SPACE);
}

/* Of numbers that HDF5 converts, all eight bytes. */
herr_t H5Aread(hid_t id, hid_t type, void *to)
{
    FUZZ_REQUIRE(of(id)->kind == ATTRIBUTE);
    if (fails()) {
        return -1;
    }
    if (type == H5T_NATIVE_INT64_g || type == H5T_NATIVE_DOUBLE_g) {
        memset(to, (int)draw(), sizeof(int64_t));
    } else if (of(type)->variable) {
        *(char **)to = draw() % 8 == 7 ? NULL : strdup(draw_name());
    } else {
        memset(to, (int)draw(), of(type)->size);
    }
    return 0;
}

herr_t H5Aiterate2(hid_t object, H5_index_t index, H5_iter_order_t order, hsize_t *at,
                   H5A_operator2_t visit, void *data)
{
    const H5A_info_t info = {0};
    (void)of(object), (void)index, (void)order;
    if (fails()) {
        return -1;
    }
    for (unsigned left = draw() % 8; left > 0; left--) {
        (*at)++;
        const herr_t rc = visit(object, draw_name(), &info, data);
        if (rc) {
            return rc;
        }
    }
    return fails() ? -1 : 0;
}

/* ---- datasets ---- */

hid_t H5Dopen2(hid_t file, const char *name, hid_t access)
{
    (void)of(file), (void)name, (void)access;
    return give_out_unless_it_fails(DATASET);
}

herr_t H5Dclose(hid_t id)
{
    return close_id(id);
}

hid_t H5Dget_space(hid_t id)
{
    FUZZ_REQUIRE(of(id)->kind == DATASET);
    return give_out_unless_it_fails(SPACE);
}

hid_t H5Dget_type(hid_t id)
{
    FUZZ_REQUIRE(of(id)->kind == DATASET);
    return draw_type();
}

hid_t H5Dget_create_plist(hid_t id)
{
    FUZZ_REQUIRE(of(id)->kind == DATASET);
    return give_out_unless_it_fails(ANY);
}

hsize_t H5Dget_storage_size(hid_t id)
{
    FUZZ_REQUIRE(of(id)->kind == DATASET);
    return draw() % 4;
}

/* Numbers of one byte again and again, or 0, 1, 2 ... */
static void fill(void *to, int64_t points, size_t size)
{
    const unsigned byte = draw();
    memset(to, (int)byte, (size_t)points * size);
    for (int64_t i = 0; byte % 4 == 0 && size == sizeof i && i < points; i++) {
        ((int64_t *)to)[i] = i;
    }
}

/* A text that has no memory makes all of them fail, and those that had some are given back. */
static herr_t fill_texts(char **to, int64_t points)
{
    for (int64_t i = 0; i < points; i++) {
        const char *said = draw() % 16 == 15 ? NULL : draw_name();
        to[i] = said ? text_take(strlen(said) + 1, take_info) : NULL;
        if (said && !to[i]) {
            while (i-- > 0) {
                text_give(to[i], give_info);
            }
            return -1;
        }
        if (said) {
            strcpy(to[i], said);
        }
    }
    return 0;
}

herr_t H5Dread(hid_t id, hid_t type, hid_t memory, hid_t file, hid_t transfer, void *to)
{
    const size_t size =
        type == H5T_NATIVE_FLOAT_g || type == H5T_NATIVE_INT32_g ? 4 : sizeof(int64_t);
    const int64_t points = of(memory)->points;
    FUZZ_REQUIRE(of(id)->kind == DATASET && of(file)->kind == SPACE &&
                 of(transfer)->kind == TRANSFER);
    if (fails() || points > left_to_read / (int64_t)size) {
        return -1;
    }
    left_to_read -= points * (int64_t)size;
    if (type > H5T_NATIVE_INT64_g) {
        if (points > TEXTS_MOST) {
            return -1;
        }
        FUZZ_REQUIRE(of(type)->variable && text_take);
        return fill_texts(to, points);
    }
    fill(to, points, size);
    return 0;
}
