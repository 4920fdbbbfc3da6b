/* SPDX-License-Identifier: MIT
 *
 * The globals of state dicts. Nothing here runs what a file names: each row says which value the
 * call would have made, or that it is opaque.
 */
#include "format/pickle_known.h"

#include <ctype.h>
#include <string.h>

static bool same(otimes_pickle_text text, const char *words)
{
    return text.length == (int64_t)strlen(words) &&
           memcmp(text.data, words, (size_t)text.length) == 0;
}

bool otimes_pickle_text_is(const otimes_pickle_value *value, const char *words)
{
    return value && value->kind == OTIMES_PICKLE_TEXT && same(value->text, words);
}

/* The last one counts, as when the dictionary was built. */
const otimes_pickle_value *otimes_pickle_member(const otimes_pickle_value *dict, const char *key)
{
    const int64_t count = dict && dict->kind == OTIMES_PICKLE_DICT ? dict->items.count : 0;
    for (int64_t i = count - 2; i >= 0; i -= 2) {
        if (otimes_pickle_text_is(dict->items.item[i], key)) {
            return dict->items.item[i + 1];
        }
    }
    return NULL;
}

otimes_pickle_value *otimes_pickle_arg(const otimes_pickle_items *args, int64_t index,
                                       otimes_pickle_kind kind)
{
    return index < args->count && args->item[index]->kind == kind ? args->item[index] : NULL;
}

/* ---- containers ---- */

static bool is_sequence(const otimes_pickle_value *value)
{
    return value->kind == OTIMES_PICKLE_TUPLE || value->kind == OTIMES_PICKLE_LIST ||
           value->kind == OTIMES_PICKLE_SET;
}

static int make_sequence(otimes_pickle *machine, const otimes_pickle_items *args,
                         otimes_pickle_kind kind, otimes_pickle_value **result)
{
    if (args->count == 0) {
        return otimes_pickle_new_items(machine, kind, NULL, 0, result);
    }
    if (args->count != 1 || !is_sequence(args->item[0])) {
        return OTIMES_PICKLE_FAIL(machine, "%s: expected a sequence of items",
                                  otimes_pickle_kind_name(kind));
    }
    return otimes_pickle_new_items(machine, kind, args->item[0]->items.item,
                                   args->item[0]->items.count, result);
}

static int make_set(otimes_pickle *machine, const otimes_pickle_items *args,
                    otimes_pickle_value **result)
{
    return make_sequence(machine, args, OTIMES_PICKLE_SET, result);
}

static int make_list(otimes_pickle *machine, const otimes_pickle_items *args,
                     otimes_pickle_value **result)
{
    return make_sequence(machine, args, OTIMES_PICKLE_LIST, result);
}

/* dict(), dict({...}), dict([[key, value], ...]): OrderedDict of Python 2 comes as the last. */
static int make_dict(otimes_pickle *machine, const otimes_pickle_items *args,
                     otimes_pickle_value **result)
{
    const otimes_pickle_value *from = args->count > 0 ? args->item[0] : NULL;
    if (!from || from->kind == OTIMES_PICKLE_DICT) {
        return otimes_pickle_new_items(machine, OTIMES_PICKLE_DICT, from ? from->items.item : NULL,
                                       from ? from->items.count : 0, result);
    }
    int rc = otimes_pickle_new(machine, OTIMES_PICKLE_DICT, result);
    const int64_t count = is_sequence(from) ? from->items.count : -1;
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const otimes_pickle_value *pair = from->items.item[i];
        if (!is_sequence(pair) || pair->items.count != 2) {
            return OTIMES_PICKLE_FAIL(machine, "dict: expected pairs, got %s",
                                      otimes_pickle_kind_name(pair->kind));
        }
        rc = otimes_pickle_extend(machine, *result, pair->items.item, 2);
    }
    return rc == OTIMES_OK && count < 0
               ? OTIMES_PICKLE_FAIL(machine, "dict: expected pairs, got %s",
                                    otimes_pickle_kind_name(from->kind))
               : rc;
}

/* The factory of missing members is of no use here. */
static int make_defaultdict(otimes_pickle *machine, const otimes_pickle_items *args,
                            otimes_pickle_value **result)
{
    const otimes_pickle_items rest = {
        .item = args->count > 0 ? args->item + 1 : NULL,
        .count = args->count > 0 ? args->count - 1 : 0,
    };
    return make_dict(machine, &rest, result);
}

/* torch.Size((2, 3)) is its tuple. */
static int make_size(otimes_pickle *machine, const otimes_pickle_items *args,
                     otimes_pickle_value **result)
{
    *result = otimes_pickle_arg(args, 0, OTIMES_PICKLE_TUPLE);
    return *result ? OTIMES_OK
                   : OTIMES_PICKLE_FAIL(machine, "torch.Size: expected %s, got other arguments",
                                        otimes_pickle_kind_name(OTIMES_PICKLE_TUPLE));
}

static int make_opaque(otimes_pickle *machine, const otimes_pickle_items *args,
                       otimes_pickle_value **result)
{
    (void)args;
    return otimes_pickle_new(machine, OTIMES_PICKLE_OPAQUE, result);
}

/* _codecs.encode(text, 'latin1'): how protocols 0 to 2 keep bytes. Each character is one byte. */
static int encode(otimes_pickle *machine, const otimes_pickle_items *args,
                  otimes_pickle_value **result)
{
    const otimes_pickle_value *text = otimes_pickle_arg(args, 0, OTIMES_PICKLE_TEXT);
    if (!text || (args->count > 1 && !otimes_pickle_text_is(args->item[1], "latin1") &&
                  !otimes_pickle_text_is(args->item[1], "latin-1"))) {
        return OTIMES_PICKLE_FAIL(machine, "_codecs.encode: expected %s and latin1",
                                  otimes_pickle_kind_name(OTIMES_PICKLE_TEXT));
    }
    const unsigned char *from = (const unsigned char *)text->text.data;
    int rc = OTIMES_OK;
    int64_t count = 0;
    unsigned char *bytes = otimes_pickle_memory(machine, text->text.length, 1, &rc);
    for (int64_t i = 0; rc == OTIMES_OK && i < text->text.length; i++) {
        unsigned character = from[i];
        if (character >= 0x80) {
            const bool two = (character == 0xc2 || character == 0xc3) &&
                             i + 1 < text->text.length && (from[i + 1] & 0xc0) == 0x80;
            if (!two) {
                return OTIMES_PICKLE_FAIL(machine, "_codecs.encode: %s beyond latin1",
                                          otimes_pickle_kind_name(OTIMES_PICKLE_TEXT));
            }
            character = (character & 3) << 6 | (from[++i] & 0x3f);
        }
        bytes[count++] = (unsigned char)character;
    }
    return rc == OTIMES_OK
               ? otimes_pickle_new_text(machine, OTIMES_PICKLE_BYTES, bytes, count, result)
               : rc;
}

/* ---- the table ---- */

/* Modules under their present names (see current_module). */
static const otimes_pickle_global known[] = {
    {"_codecs", "encode", encode},
    {"builtins", "bool", NULL},
    {"builtins", "bytearray", make_opaque},
    {"builtins", "bytes", make_opaque},
    {"builtins", "complex", make_opaque},
    {"builtins", "dict", make_dict},
    {"builtins", "float", NULL},
    {"builtins", "frozenset", make_set},
    {"builtins", "int", NULL},
    {"builtins", "list", make_list},
    {"builtins", "set", make_set},
    {"builtins", "str", NULL},
    {"collections", "Counter", make_dict},
    {"collections", "OrderedDict", make_dict},
    {"collections", "defaultdict", make_defaultdict},
    {"numpy", "dtype", otimes_numpy_dtype},
    {"numpy", "ndarray", NULL},
    {"numpy.core.multiarray", "_reconstruct", make_opaque},
    {"numpy.core.multiarray", "scalar", otimes_numpy_scalar},
    {"numpy.core.numeric", "_frombuffer", make_opaque},
    {"torch", "Size", make_size},
    {"torch", "Tensor", NULL},
    {"torch", "device", make_opaque},
    {"torch._tensor", "Tensor", NULL},
    {"torch._tensor", "_rebuild_from_type_v2", otimes_torch_rebuild_from_type},
    {"torch._utils", "_rebuild_parameter", otimes_torch_rebuild_parameter},
    {"torch._utils", "_rebuild_parameter_with_state", otimes_torch_rebuild_parameter},
    {"torch._utils", "_rebuild_tensor", otimes_torch_rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v2", otimes_torch_rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v3", otimes_torch_rebuild_tensor_v3},
    {"torch.nn.parameter", "Buffer", NULL},
    {"torch.nn.parameter", "Parameter", NULL},
};

/* Python 2's builtins and numpy 2's core went by other names. */
static const char *current_module(otimes_pickle_text module)
{
    static const struct {
        const char *was, *is;
    } renamed[] = {
        {"__builtin__", "builtins"},
        {"numpy._core.multiarray", "numpy.core.multiarray"},
        {"numpy._core.numeric", "numpy.core.numeric"},
        {"torch.storage", "torch"},
        {"torch.cuda", "torch"},
    };
    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0]; i++) {
        if (same(module, renamed[i].was)) {
            return renamed[i].is;
        }
    }
    return NULL;
}

/* A class by Python's habit of writing it, or whatever a user's script or a compiled module
 * defines. */
static bool looks_like_class(otimes_pickle_text module, otimes_pickle_text name)
{
    static const char *const modules[] = {"__main__", "__torch__", "torch.nn.modules"};
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        const int64_t length = (int64_t)strlen(modules[i]);
        if (module.length >= length && memcmp(module.data, modules[i], (size_t)length) == 0) {
            return true;
        }
    }
    return name.length > 0 && isupper((unsigned char)name.data[0]);
}

static int refuse(otimes_pickle *machine, otimes_pickle_text module, otimes_pickle_text name)
{
    enum { SHOWN = 200 };
    const int module_length = (int)(module.length < SHOWN ? module.length : SHOWN);
    const int name_length = (int)(name.length < SHOWN ? name.length : SHOWN);
    return otimes_fail(machine->err, OTIMES_ERR_FORMAT,
                       "%s: pickle: global %.*s.%.*s is not part of a state dict%s", machine->path,
                       module_length, module.data, name_length, name.data,
                       looks_like_class(module, name)
                           ? ": a whole pickled module or object cannot be opened without its "
                             "code, save model.state_dict() instead"
                           : "");
}

int otimes_pickle_find_global(otimes_pickle *machine, otimes_pickle_text module,
                              otimes_pickle_text name, otimes_pickle_value **value)
{
    const char *now = current_module(module);
    const otimes_pickle_text current =
        now ? (otimes_pickle_text){now, (int64_t)strlen(now)} : module;
    int rc;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (same(current, known[i].module) && same(name, known[i].name)) {
            rc = otimes_pickle_new(machine, OTIMES_PICKLE_GLOBAL, value);
            if (rc == OTIMES_OK) {
                (*value)->global = &known[i];
            }
            return rc;
        }
    }
    const bool torch = same(current, "torch");
    const otimes_torch_type *storage = torch ? otimes_torch_storage_type(name) : NULL;
    const otimes_torch_type *dtype = torch ? otimes_torch_dtype(name) : NULL;
    if (!storage && !dtype) {
        return refuse(machine, module, name);
    }
    rc = otimes_pickle_new(machine, storage ? OTIMES_PICKLE_STORAGE_TYPE : OTIMES_PICKLE_DTYPE,
                           value);
    if (rc == OTIMES_OK) {
        (*value)->type = storage ? storage : dtype;
    }
    return rc;
}

/* ---- calls ---- */

int otimes_pickle_call(otimes_pickle *machine, const otimes_pickle_value *callable,
                       const otimes_pickle_value *args, otimes_pickle_value **result)
{
    if (callable->kind != OTIMES_PICKLE_GLOBAL || args->kind != OTIMES_PICKLE_TUPLE) {
        return OTIMES_PICKLE_FAIL(
            machine, "expected a global and a tuple to call it with, got %s and %s",
            otimes_pickle_kind_name(callable->kind), otimes_pickle_kind_name(args->kind));
    }
    const otimes_pickle_global *global = callable->global;
    return global->reduce ? global->reduce(machine, &args->items, result)
                          : otimes_fail(machine->err, OTIMES_ERR_FORMAT,
                                        "%s: pickle: a call of %s.%s is not part of a state dict",
                                        machine->path, global->module, global->name);
}

int otimes_pickle_build(otimes_pickle *machine, otimes_pickle_value *object,
                        const otimes_pickle_value *state)
{
    switch (object->kind) {
    case OTIMES_PICKLE_DICT: /* attributes of OrderedDict, such as _metadata */
    case OTIMES_PICKLE_TENSOR:
    case OTIMES_PICKLE_OPAQUE:
        return OTIMES_OK;
    case OTIMES_PICKLE_NUMPY_DTYPE:
        return otimes_numpy_build_dtype(machine, object, state);
    default:
        return OTIMES_PICKLE_FAIL(machine, "expected an object to set attributes of, got %s",
                                  otimes_pickle_kind_name(object->kind));
    }
}
