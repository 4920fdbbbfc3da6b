/* SPDX-License-Identifier: MIT
 *
 * The stack machine: one opcode after the other until STOP, no recursion whatever the nesting.
 */
#include "format/pickle.h"

#include "format/pickle_known.h"
#include "format/pickle_read.h"

enum { NEWEST_PROTOCOL = 5 };

/* ---- the stack ---- */

static int push(otimes_pickle *machine, otimes_pickle_value *value)
{
    if (machine->stack_count >= OTIMES_PICKLE_MOST) { /* unreached: takes a file of 64 MiB */
        return OTIMES_PICKLE_FAIL(machine, "expected a stack of at most %d, got more",
                                  OTIMES_PICKLE_MOST);
    }
    const int rc =
        OTIMES_GROW(&machine->stack, machine->stack_count, &machine->stack_capacity, machine->err);
    if (rc == OTIMES_OK) {
        machine->stack[machine->stack_count++] = value;
    }
    return rc;
}

/* What lies below the last mark is out of reach until it is taken away. */
static int64_t reachable(const otimes_pickle *machine)
{
    const int64_t below = machine->mark_count > 0 ? machine->marks[machine->mark_count - 1] : 0;
    return machine->stack_count - below;
}

/* Takes the topmost count values away; *items is where they lie until the next push, NULL for none. */
static int pop(otimes_pickle *machine, int64_t count, otimes_pickle_value ***items)
{
    if (reachable(machine) < count) {
        return OTIMES_PICKLE_FAIL(machine, "expected %lld values on the stack, got %lld",
                                  (long long)count, (long long)reachable(machine));
    }
    machine->stack_count -= count;
    *items = count > 0 ? machine->stack + machine->stack_count : NULL;
    return OTIMES_OK;
}

static int push_mark(otimes_pickle *machine)
{
    if (machine->mark_count >= OTIMES_PICKLE_MOST) { /* unreached: takes a file of 64 MiB */
        return OTIMES_PICKLE_FAIL(machine, "expected at most %d marks, got more",
                                  OTIMES_PICKLE_MOST);
    }
    const int rc =
        OTIMES_GROW(&machine->marks, machine->mark_count, &machine->mark_capacity, machine->err);
    if (rc == OTIMES_OK) {
        machine->marks[machine->mark_count++] = machine->stack_count;
    }
    return rc;
}

/* Takes away all above the last mark, and the mark. */
static int pop_to_mark(otimes_pickle *machine, otimes_pickle_value ***items, int64_t *count)
{
    if (machine->mark_count == 0) {
        return OTIMES_PICKLE_FAIL(machine, "expected a mark on the stack, got %s", "none");
    }
    *count = reachable(machine);
    const int rc = pop(machine, *count, items);
    machine->mark_count--;
    return rc;
}

/* The value that stays on the stack and is added to; it must be of that kind. */
static int container(otimes_pickle *machine, otimes_pickle_kind kind, otimes_pickle_value **value)
{
    const bool any = reachable(machine) > 0;
    *value = any ? machine->stack[machine->stack_count - 1] : NULL;
    if (!any || (*value)->kind != kind) {
        return OTIMES_PICKLE_FAIL(machine, "expected %s to add to, got %s",
                                  otimes_pickle_kind_name(kind),
                                  any ? otimes_pickle_kind_name((*value)->kind) : "nothing");
    }
    return OTIMES_OK;
}

/* ---- the memo ---- */

/* Every value that is put took a byte at least: a number beyond the bytes read so far is no one's
 * count, and room for it is not asked for. */
static int put(otimes_pickle *machine, uint64_t index)
{
    if (index >= (uint64_t)machine->at || index >= OTIMES_PICKLE_MOST) {
        return OTIMES_PICKLE_FAIL(machine, "memo: expected a number below %lld, got %llu",
                                  (long long)machine->at, (unsigned long long)index);
    }
    if (reachable(machine) < 1) {
        return OTIMES_PICKLE_FAIL(machine, "memo: expected %s on the stack", "a value");
    }
    while ((int64_t)index >= machine->memo_count) {
        const int rc =
            OTIMES_GROW(&machine->memo, machine->memo_count, &machine->memo_capacity, machine->err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        machine->memo[machine->memo_count++] = NULL;
    }
    machine->memo_used += !machine->memo[index];
    machine->memo[index] = machine->stack[machine->stack_count - 1];
    return OTIMES_OK;
}

static int get(otimes_pickle *machine, uint64_t index)
{
    if (index >= (uint64_t)machine->memo_count || !machine->memo[index]) {
        return OTIMES_PICKLE_FAIL(machine, "memo: nothing was put under number %llu",
                                  (unsigned long long)index);
    }
    return push(machine, machine->memo[index]);
}

static int memo_opcode(otimes_pickle *machine, unsigned char opcode)
{
    const bool is_put = opcode == 'p' || opcode == 'q' || opcode == 'r';
    uint64_t index = 0;
    int rc;
    if (opcode == 'p' || opcode == 'g') {
        otimes_pickle_text line;
        otimes_pickle_value *number = NULL;
        rc = otimes_pickle_line(machine, &line);
        if (rc == OTIMES_OK) {
            rc = otimes_pickle_decimal(machine, line, &number);
        }
        /* a negative or big number becomes one that is too large */
        index = rc == OTIMES_OK && number->kind == OTIMES_PICKLE_INT ? (uint64_t)number->integer
                                                                     : UINT64_MAX;
    } else {
        rc = otimes_pickle_number(machine, opcode == 'q' || opcode == 'h' ? 1 : 4, &index);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    return is_put ? put(machine, index) : get(machine, index);
}

/* ---- containers ---- */

static int push_items(otimes_pickle *machine, otimes_pickle_kind kind, otimes_pickle_value **items,
                      int64_t count)
{
    otimes_pickle_value *value;
    if (kind == OTIMES_PICKLE_DICT && count % 2 != 0) {
        return OTIMES_PICKLE_FAIL(machine, "a dict: expected keys and values, got %lld in all",
                                  (long long)count);
    }
    const int rc = otimes_pickle_new_items(machine, kind, items, count, &value);
    return rc == OTIMES_OK ? push(machine, value) : rc;
}

/* A container of the topmost count values, or of all above the mark when count is negative. */
static int collect(otimes_pickle *machine, otimes_pickle_kind kind, int64_t count)
{
    otimes_pickle_value **items = NULL;
    const int rc = count < 0 ? pop_to_mark(machine, &items, &count) : pop(machine, count, &items);
    return rc == OTIMES_OK ? push_items(machine, kind, items, count) : rc;
}

/* The same, added to the container below them. */
static int add_to(otimes_pickle *machine, otimes_pickle_kind kind, int64_t count)
{
    otimes_pickle_value **items = NULL, *value = NULL;
    int rc = count < 0 ? pop_to_mark(machine, &items, &count) : pop(machine, count, &items);
    if (rc == OTIMES_OK) {
        rc = container(machine, kind, &value);
    }
    if (rc == OTIMES_OK && kind == OTIMES_PICKLE_DICT && count % 2 != 0) {
        rc = OTIMES_PICKLE_FAIL(machine, "a dict: expected keys and values, got %lld in all",
                                (long long)count);
    }
    return rc == OTIMES_OK ? otimes_pickle_extend(machine, value, items, count) : rc;
}

/* ---- globals and calls ---- */

static int push_global(otimes_pickle *machine, bool from_stack)
{
    otimes_pickle_text module = {0}, name = {0};
    otimes_pickle_value **items = NULL, *value = NULL;
    int rc;
    if (from_stack) {
        rc = pop(machine, 2, &items);
        if (rc == OTIMES_OK &&
            (items[0]->kind != OTIMES_PICKLE_TEXT || items[1]->kind != OTIMES_PICKLE_TEXT)) {
            rc = OTIMES_PICKLE_FAIL(machine, "a global: expected two texts, got %s and %s",
                                    otimes_pickle_kind_name(items[0]->kind),
                                    otimes_pickle_kind_name(items[1]->kind));
        }
        if (rc == OTIMES_OK) {
            module = items[0]->text;
            name = items[1]->text;
        }
    } else {
        rc = otimes_pickle_line(machine, &module);
        if (rc == OTIMES_OK) {
            rc = otimes_pickle_line(machine, &name);
        }
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_find_global(machine, module, name, &value);
    }
    return rc == OTIMES_OK ? push(machine, value) : rc;
}

/* REDUCE, NEWOBJ: function and arguments become what the call would have made. */
static int call(otimes_pickle *machine)
{
    otimes_pickle_value **items = NULL, *value = NULL;
    int rc = pop(machine, 2, &items);
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_call(machine, items[0], items[1], &value);
    }
    return rc == OTIMES_OK ? push(machine, value) : rc;
}

static int build(otimes_pickle *machine)
{
    otimes_pickle_value **items = NULL;
    int rc = pop(machine, 2, &items);
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_build(machine, items[0], items[1]);
    }
    return rc == OTIMES_OK ? push(machine, items[0]) : rc;
}

static int persistent(otimes_pickle *machine)
{
    otimes_pickle_value **items = NULL, *value = NULL;
    int rc = pop(machine, 1, &items);
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_persistent(machine, items[0], &value);
    }
    return rc == OTIMES_OK ? push(machine, value) : rc;
}

/* ---- opcodes ---- */

/* POP takes a mark away when nothing lies above it. */
static int pop_one(otimes_pickle *machine)
{
    otimes_pickle_value **items = NULL;
    int64_t count;
    return reachable(machine) == 0 && machine->mark_count > 0 ? pop_to_mark(machine, &items, &count)
                                                              : pop(machine, 1, &items);
}

static int duplicate(otimes_pickle *machine)
{
    otimes_pickle_value **items = NULL;
    int rc = pop(machine, 1, &items);
    if (rc == OTIMES_OK) {
        otimes_pickle_value *value = items[0];
        rc = push(machine, value);
        rc = rc == OTIMES_OK ? push(machine, value) : rc;
    }
    return rc;
}

static int protocol(otimes_pickle *machine)
{
    uint64_t number;
    const int rc = otimes_pickle_number(machine, 1, &number);
    return rc == OTIMES_OK && number > NEWEST_PROTOCOL
               ? OTIMES_PICKLE_FAIL(machine, "expected protocol 0 to %d, got %llu", NEWEST_PROTOCOL,
                                    (unsigned long long)number)
               : rc;
}

/* Frames only help to read ahead: the opcodes in them are read like any others. */
static int frame(otimes_pickle *machine)
{
    uint64_t length;
    const unsigned char *ignored;
    int rc = otimes_pickle_number(machine, 8, &length);
    const int64_t at = machine->at;
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_take(machine, length, &ignored);
        machine->at = at;
    }
    return rc;
}

static int execute(otimes_pickle *machine, unsigned char opcode)
{
    otimes_pickle_value **items = NULL;
    int64_t count;
    switch (opcode) {
    case 0x80:
        return protocol(machine);
    case 0x95:
        return frame(machine);
    case '(':
        return push_mark(machine);
    case '0':
        return pop_one(machine);
    case '1': /* POP_MARK */
        return pop_to_mark(machine, &items, &count);
    case '2': /* DUP */
        return duplicate(machine);
    case ')': /* EMPTY_TUPLE */
        return collect(machine, OTIMES_PICKLE_TUPLE, 0);
    case 0x85: /* TUPLE1, 2, 3 */
    case 0x86:
    case 0x87:
        return collect(machine, OTIMES_PICKLE_TUPLE, opcode - 0x84);
    case 't':
        return collect(machine, OTIMES_PICKLE_TUPLE, -1);
    case ']': /* EMPTY_LIST */
        return collect(machine, OTIMES_PICKLE_LIST, 0);
    case 'l':
        return collect(machine, OTIMES_PICKLE_LIST, -1);
    case '}': /* EMPTY_DICT */
        return collect(machine, OTIMES_PICKLE_DICT, 0);
    case 'd':
        return collect(machine, OTIMES_PICKLE_DICT, -1);
    case 0x8f: /* EMPTY_SET */
        return collect(machine, OTIMES_PICKLE_SET, 0);
    case 0x91: /* FROZENSET */
        return collect(machine, OTIMES_PICKLE_SET, -1);
    case 'a': /* APPEND */
        return add_to(machine, OTIMES_PICKLE_LIST, 1);
    case 'e': /* APPENDS */
        return add_to(machine, OTIMES_PICKLE_LIST, -1);
    case 's': /* SETITEM */
        return add_to(machine, OTIMES_PICKLE_DICT, 2);
    case 'u': /* SETITEMS */
        return add_to(machine, OTIMES_PICKLE_DICT, -1);
    case 0x90: /* ADDITEMS */
        return add_to(machine, OTIMES_PICKLE_SET, -1);
    case 'p': /* PUT, BINPUT, LONG_BINPUT, GET, BINGET, LONG_BINGET */
    case 'q':
    case 'r':
    case 'g':
    case 'h':
    case 'j':
        return memo_opcode(machine, opcode);
    case 0x94: /* MEMOIZE */
        return put(machine, (uint64_t)machine->memo_used);
    case 'c': /* GLOBAL */
        return push_global(machine, false);
    case 0x93: /* STACK_GLOBAL */
        return push_global(machine, true);
    case 'R':  /* REDUCE */
    case 0x81: /* NEWOBJ */
        return call(machine);
    case 'b': /* BUILD */
        return build(machine);
    case 'Q': /* BINPERSID */
        return persistent(machine);
    case 'P': /* PERSID */
        return OTIMES_PICKLE_FAIL(machine, "persistent id: expected a tuple, got a %s", "line");
    default:
        return OTIMES_PICKLE_FAIL(machine, "opcode 0x%02x is not part of a state dict", opcode);
    }
}

/* Back to an empty stack and memo for the next pickle of the file; values stay. */
static void restart(otimes_pickle *machine)
{
    machine->stack_count = machine->mark_count = 0;
    machine->memo_count = machine->memo_used = 0;
}

int otimes_pickle_load(otimes_pickle *machine, otimes_pickle_value **value, otimes_err *err)
{
    int rc = OTIMES_OK;
    machine->err = err;
    restart(machine);
    while (rc == OTIMES_OK) {
        const unsigned char *opcode;
        otimes_pickle_value *literal = NULL, **items = NULL;
        rc = otimes_pickle_take(machine, 1, &opcode);
        if (rc == OTIMES_OK && *opcode == '.') {
            rc = pop(machine, 1, &items);
            *value = rc == OTIMES_OK ? items[0] : NULL;
            break;
        }
        if (rc == OTIMES_OK) {
            rc = otimes_pickle_literal(machine, *opcode, &literal);
        }
        if (rc == OTIMES_OK) {
            rc = literal ? push(machine, literal) : execute(machine, *opcode);
        }
    }
    machine->err = NULL;
    return rc;
}

void otimes_pickle_free(otimes_pickle *machine)
{
    if (!machine) {
        return;
    }
    otimes_pool_free(&machine->pool);
    otimes_free(machine->stack);
    otimes_free(machine->memo);
    otimes_free(machine->marks);
    otimes_free(machine->storages);
    *machine = (otimes_pickle){
        .path = machine->path,
        .data = machine->data,
        .bytes = machine->bytes,
    };
}
