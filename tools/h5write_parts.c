/* SPDX-License-Identifier: MIT */
#include "h5write_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "layout.h"
#include "sink_h5.h"

/* Chunks an array keeps in memory, so that blocks narrower than a chunk do not read it back. */
#define CACHE_BYTES ((size_t)16 << 20)
#define CACHE_SLOTS 521
/* How much sooner chunks leave that are written in full. At 1 others would never leave. */
#define CACHE_PREEMPT 0.75
/* Attributes stay in the object header up to this number. Beyond it HDF5 1.10 moves them to dense
 * storage, whose creation order is lost when H5DSattach_scale rewrites one of them. */
#define COMPACT_ATTRIBUTES 1024

int h5_put(hid_t object, const char *name, hid_t file_type, hid_t memory_type, H5S_class_t kind,
           const void *value)
{
    const hsize_t one = 1;
    const htri_t there = H5Aexists(object, name);
    int rc = -1;
    if (there < 0 || (there && H5Adelete(object, name) < 0)) {
        return -1;
    }
    const hid_t space =
        kind == H5S_SCALAR ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &one, NULL);
    const hid_t attr = H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attr >= 0) {
        rc = H5Awrite(attr, memory_type, value) < 0 ? -1 : 0;
        if (H5Aclose(attr) < 0) {
            rc = -1;
        }
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    return rc;
}

h5_storage h5_storage_of(otimes_type type, hid_t text, hid_t half)
{
    static const uint16_t half_nan = 0x7e00;
    static const float float_nan = NAN;
    static const double double_nan = NAN;
    static const int32_t i32_none = -1;
    static const int64_t i64_none = -1;
    switch (type) {
    case OTIMES_F32:
        return (h5_storage){H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, &float_nan};
    case OTIMES_F16:
        return (h5_storage){half, half, &half_nan};
    case OTIMES_F64:
        return (h5_storage){H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &double_nan};
    case OTIMES_I32:
        return (h5_storage){H5T_STD_I32LE, H5T_NATIVE_INT32, &i32_none};
    case OTIMES_I64:
        return (h5_storage){H5T_STD_I64LE, H5T_NATIVE_INT64, &i64_none};
    case OTIMES_TEXT:
        return (h5_storage){text, text, NULL};
    }
    return (h5_storage){-1, -1, NULL};
}

hid_t h5_make_half(void)
{
    const hid_t type = H5Tcopy(H5T_NATIVE_FLOAT);
    if (type < 0) {
        return -1;
    }
    if (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 ||
        H5Tset_ebias(type, 15) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

hid_t h5_make_text(void)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) {
        return -1;
    }
    if (H5Tset_size(type, H5T_VARIABLE) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

hid_t h5_make_properties(const otimes_array *about, const h5_storage *kind)
{
    int64_t wish[OTIMES_MAX_DIMS];
    hsize_t chunk[OTIMES_MAX_DIMS];
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (properties < 0) {
        return -1;
    }
    /* Times of each object would make every file differ. */
    if (H5Pset_obj_track_times(properties, 0) < 0 ||
        H5Pset_attr_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED) < 0 ||
        H5Pset_attr_phase_change(properties, COMPACT_ATTRIBUTES, 0) < 0) {
        goto fail;
    }
    if (kind->fill && H5Pset_fill_value(properties, kind->memory_type, kind->fill) < 0) {
        goto fail;
    }
    if (about) {
        layout_chunk(about, wish);
        for (int i = 0; i < about->ndim; i++) {
            chunk[i] = (hsize_t)wish[i];
        }
        if (H5Pset_chunk(properties, about->ndim, chunk) < 0) {
            goto fail;
        }
    }
    return properties;
fail:
    H5Pclose(properties);
    return -1;
}

/* Who wrote the file, where netCDF looks for it; a fixed-length string as netCDF itself writes. */
static int put_provenance(hid_t file)
{
    char text[128], version[32];
    sink_h5_version(version, sizeof version);
    snprintf(text, sizeof text, "version=2,otimes=%s,hdf5=%s", otimes_version(), version);
    const hid_t type = H5Tcopy(H5T_C_S1);
    int rc = -1;
    if (type >= 0 && H5Tset_size(type, strlen(text)) >= 0) {
        rc = h5_put(file, "_NCProperties", type, type, H5S_SCALAR, text);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    return rc;
}

hid_t h5_create_file(const char *name)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    const unsigned order = H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED;
    hid_t id = -1;
    if (access >= 0 && creation >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_cache(access, 0, CACHE_SLOTS, CACHE_BYTES, CACHE_PREEMPT) >= 0 &&
        H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) >= 0 &&
        H5Pset_obj_track_times(creation, 0) >= 0 &&
        H5Pset_link_creation_order(creation, order) >= 0 &&
        H5Pset_attr_creation_order(creation, order) >= 0 &&
        H5Pset_attr_phase_change(creation, COMPACT_ATTRIBUTES, 0) >= 0) {
        id = H5Fcreate(name, H5F_ACC_TRUNC, creation, access);
    }
    if (id >= 0 && put_provenance(id) < 0) {
        H5Fclose(id);
        id = -1;
    }
    if (access >= 0) {
        H5Pclose(access);
    }
    if (creation >= 0) {
        H5Pclose(creation);
    }
    return id;
}

void sink_h5_version(char *text, size_t size)
{
    unsigned major, minor, release;
    if (H5get_libversion(&major, &minor, &release) < 0) {
        snprintf(text, size, "unknown");
    } else {
        snprintf(text, size, "%u.%u.%u", major, minor, release);
    }
}
