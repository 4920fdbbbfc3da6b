/* SPDX-License-Identifier: MIT
 *
 * What torch puts into pickles: storages as persistent ids, tensors as calls that rebuild them
 * (torch/serialization.py, torch/_utils.py and torch/_tensor.py of PyTorch).
 */
#include "format/pickle_known.h"

#include <string.h>

enum { LONGEST_KEY = 1024, METADATA_MOST = 32 };

/* Complex and quantized numbers have a size, so that they can be stepped over, and no reading. */
static const otimes_torch_type types[] = {
    {"FloatStorage", "float32", 4, true, OTIMES_DTYPE_F32},
    {"HalfStorage", "float16", 2, true, OTIMES_DTYPE_F16},
    {"BFloat16Storage", "bfloat16", 2, true, OTIMES_DTYPE_BF16},
    {"DoubleStorage", "float64", 8, true, OTIMES_DTYPE_F64},
    {"LongStorage", "int64", 8, true, OTIMES_DTYPE_I64},
    {"IntStorage", "int32", 4, true, OTIMES_DTYPE_I32},
    {"ShortStorage", "int16", 2, true, OTIMES_DTYPE_I16},
    {"CharStorage", "int8", 1, true, OTIMES_DTYPE_I8},
    {"ByteStorage", "uint8", 1, true, OTIMES_DTYPE_U8},
    {"BoolStorage", "bool", 1, true, OTIMES_DTYPE_BOOL},
    {NULL, "uint16", 2, true, OTIMES_DTYPE_U16},
    {NULL, "uint32", 4, true, OTIMES_DTYPE_U32},
    {NULL, "uint64", 8, true, OTIMES_DTYPE_U64},
    {NULL, "float8_e4m3fn", 1, true, OTIMES_DTYPE_F8_E4M3},
    {NULL, "float8_e5m2", 1, true, OTIMES_DTYPE_F8_E5M2},
    {NULL, "float8_e4m3fnuz", 1, .readable = false},
    {NULL, "float8_e5m2fnuz", 1, .readable = false},
    {NULL, "float8_e8m0fnu", 1, .readable = false},
    {NULL, "complex32", 4, .readable = false},
    {"ComplexFloatStorage", "complex64", 8, .readable = false},
    {"ComplexDoubleStorage", "complex128", 16, .readable = false},
    {"QInt8Storage", "qint8", 1, .readable = false},
    {"QUInt8Storage", "quint8", 1, .readable = false},
    {"QInt32Storage", "qint32", 4, .readable = false},
    {"QUInt4x2Storage", "quint4x2", 1, .readable = false},
    {"QUInt2x4Storage", "quint2x4", 1, .readable = false},
    {"UntypedStorage", NULL, 1, .readable = false},
};

static bool same(const char *words, otimes_pickle_text text)
{
    return words && text.length == (int64_t)strlen(words) &&
           memcmp(text.data, words, (size_t)text.length) == 0;
}

const otimes_torch_type *otimes_torch_storage_type(otimes_pickle_text name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (same(types[i].storage, name)) {
            return &types[i];
        }
    }
    return NULL;
}

const otimes_torch_type *otimes_torch_dtype(otimes_pickle_text name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (same(types[i].dtype, name)) {
            return &types[i];
        }
    }
    return NULL;
}

/* ---- storages ---- */

static int bad_id(otimes_pickle *machine, const char *expected)
{
    return OTIMES_PICKLE_FAIL(machine, "persistent id: expected %s", expected);
}

/* Before 0.4 a storage could be a part of another: (key, offset, numel). */
static int read_view(otimes_pickle *machine, const otimes_pickle_value *view,
                     otimes_torch_storage *storage)
{
    if (view->kind == OTIMES_PICKLE_NONE) {
        return OTIMES_OK;
    }
    const bool tuple = view->kind == OTIMES_PICKLE_TUPLE && view->items.count == 3;
    const otimes_pickle_value *offset =
        tuple ? otimes_pickle_arg(&view->items, 1, OTIMES_PICKLE_INT) : NULL;
    const otimes_pickle_value *numel =
        tuple ? otimes_pickle_arg(&view->items, 2, OTIMES_PICKLE_INT) : NULL;
    if (!offset || !numel || offset->integer < 0 || numel->integer < 0 ||
        numel->integer > storage->numel - offset->integer) {
        return bad_id(machine, "a view (key, offset, size) inside its storage");
    }
    storage->view_offset = offset->integer;
    storage->view_numel = numel->integer;
    return OTIMES_OK;
}

int otimes_pickle_persistent(otimes_pickle *machine, const otimes_pickle_value *id,
                             otimes_pickle_value **result)
{
    const otimes_pickle_items *parts = &id->items;
    if (id->kind != OTIMES_PICKLE_TUPLE || parts->count < 5 || parts->count > 6 ||
        !otimes_pickle_text_is(parts->item[0], "storage")) {
        return bad_id(machine, "('storage', type, key, location, size)");
    }
    const otimes_pickle_value *type = otimes_pickle_arg(parts, 1, OTIMES_PICKLE_STORAGE_TYPE);
    const otimes_pickle_value *key = otimes_pickle_arg(parts, 2, OTIMES_PICKLE_TEXT);
    const otimes_pickle_value *numel = otimes_pickle_arg(parts, 4, OTIMES_PICKLE_INT);
    int64_t bytes;
    if (!type || !key || key->text.length > LONGEST_KEY) {
        return bad_id(machine, "a storage type and a short text as the key");
    }
    if (!numel || !otimes_mul_i64(numel->integer, type->type->size, &bytes)) {
        return bad_id(machine, "a size that is not negative and fits 63 bits");
    }
    int rc = otimes_pickle_new(machine, OTIMES_PICKLE_STORAGE, result);
    otimes_torch_storage *storage = otimes_pickle_memory(machine, 1, sizeof *storage, &rc);
    if (rc == OTIMES_OK) {
        rc = OTIMES_GROW(&machine->storages, machine->storage_count, &machine->storage_capacity,
                         machine->err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    *storage = (otimes_torch_storage){
        .type = type->type,
        .key = key,
        .numel = numel->integer,
        .view_numel = numel->integer,
    };
    (*result)->storage = machine->storages[machine->storage_count++] = storage;
    return parts->count == 6 ? read_view(machine, parts->item[5], storage) : OTIMES_OK;
}

/* ---- tensors ---- */

/* conj and neg are promises to change the numbers when they are read. torch writes nothing else, so
 * more members are not looked through. */
static bool is_changed(const otimes_pickle_value *metadata)
{
    if (metadata->kind == OTIMES_PICKLE_DICT && metadata->items.count > METADATA_MOST) {
        return true;
    }
    static const char *const flags[] = {"conj", "neg"};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        const otimes_pickle_value *flag = otimes_pickle_member(metadata, flags[i]);
        if (flag && (flag->kind != OTIMES_PICKLE_BOOL || flag->integer)) {
            return true;
        }
    }
    return false;
}

static int rebuild(otimes_pickle *machine, const otimes_pickle_items *args,
                   const otimes_torch_type *type, int64_t metadata_at, otimes_pickle_value **result)
{
    const otimes_pickle_value *storage = otimes_pickle_arg(args, 0, OTIMES_PICKLE_STORAGE);
    const otimes_pickle_value *offset = otimes_pickle_arg(args, 1, OTIMES_PICKLE_INT);
    const otimes_pickle_value *size = otimes_pickle_arg(args, 2, OTIMES_PICKLE_TUPLE);
    const otimes_pickle_value *stride = otimes_pickle_arg(args, 3, OTIMES_PICKLE_TUPLE);
    if (!storage || !offset || !size || !stride) {
        return OTIMES_PICKLE_FAIL(machine, "%s: expected (storage, offset, size, stride, ...)",
                                  otimes_pickle_kind_name(OTIMES_PICKLE_TENSOR));
    }
    if (metadata_at < args->count && is_changed(args->item[metadata_at])) {
        return OTIMES_PICKLE_FAIL(machine, "%s marked conj or neg cannot be read",
                                  otimes_pickle_kind_name(OTIMES_PICKLE_TENSOR));
    }
    int rc = otimes_pickle_new(machine, OTIMES_PICKLE_TENSOR, result);
    otimes_torch_tensor *tensor = otimes_pickle_memory(machine, 1, sizeof *tensor, &rc);
    if (rc == OTIMES_OK) {
        *tensor = (otimes_torch_tensor){
            .storage = storage->storage,
            .type = type ? type : storage->storage->type,
            .offset = offset->integer,
            .size = size,
            .stride = stride,
        };
        (*result)->tensor = tensor;
    }
    return rc;
}

/* (storage, offset, size, stride[, requires_grad, hooks[, metadata]]) */
int otimes_torch_rebuild_tensor(otimes_pickle *machine, const otimes_pickle_items *args,
                                otimes_pickle_value **result)
{
    return rebuild(machine, args, NULL, 6, result);
}

/* (storage, offset, size, stride, requires_grad, hooks, dtype[, metadata]): types without a storage
 * class of their own, over an untyped storage. */
int otimes_torch_rebuild_tensor_v3(otimes_pickle *machine, const otimes_pickle_items *args,
                                   otimes_pickle_value **result)
{
    const otimes_pickle_value *dtype = otimes_pickle_arg(args, 6, OTIMES_PICKLE_DTYPE);
    return dtype
               ? rebuild(machine, args, dtype->type, 7, result)
               : OTIMES_PICKLE_FAIL(machine, "_rebuild_tensor_v3: expected %s as the last argument",
                                    otimes_pickle_kind_name(OTIMES_PICKLE_DTYPE));
}

/* (data, requires_grad, hooks[, state]): the data is all that counts. */
int otimes_torch_rebuild_parameter(otimes_pickle *machine, const otimes_pickle_items *args,
                                   otimes_pickle_value **result)
{
    *result = otimes_pickle_arg(args, 0, OTIMES_PICKLE_TENSOR);
    return *result ? OTIMES_OK
                   : OTIMES_PICKLE_FAIL(machine, "_rebuild_parameter: expected %s",
                                        otimes_pickle_kind_name(OTIMES_PICKLE_TENSOR));
}

/* (function, type, arguments, state): tensors with attributes. Types other than torch's own are
 * refused as globals already. */
int otimes_torch_rebuild_from_type(otimes_pickle *machine, const otimes_pickle_items *args,
                                   otimes_pickle_value **result)
{
    const otimes_pickle_value *function = otimes_pickle_arg(args, 0, OTIMES_PICKLE_GLOBAL);
    const otimes_pickle_value *type = otimes_pickle_arg(args, 1, OTIMES_PICKLE_GLOBAL);
    const otimes_pickle_value *rest = otimes_pickle_arg(args, 2, OTIMES_PICKLE_TUPLE);
    const bool is_tensor =
        function && (function->global->reduce == otimes_torch_rebuild_tensor ||
                     function->global->reduce == otimes_torch_rebuild_tensor_v3 ||
                     function->global->reduce == otimes_torch_rebuild_parameter);
    if (!is_tensor || !type || !rest || strncmp(type->global->module, "torch", 5) != 0) {
        return OTIMES_PICKLE_FAIL(machine, "_rebuild_from_type_v2: expected a torch.Tensor or %s",
                                  "nn.Parameter");
    }
    return function->global->reduce(machine, &rest->items, result);
}
