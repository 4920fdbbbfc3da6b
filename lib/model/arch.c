/* SPDX-License-Identifier: MIT */
#include "model/arch_names.h"

#include <string.h>

static const struct {
    const char *label, *path, *layout;
    otimes_model_part part;
} slots[OTIMES_SLOT_COUNT] = {
#define SLOT_ROW(name, label, path, layout, part) {label, path, layout, OTIMES_MODEL_PART_##part},
    OTIMES_SLOTS(SLOT_ROW)
#undef SLOT_ROW
};

const char *otimes_slot_label(otimes_slot slot)
{
    return slots[slot].label;
}

const char *otimes_slot_path(otimes_slot slot)
{
    return slots[slot].path;
}

const char *otimes_slot_layout(otimes_slot slot)
{
    return slots[slot].layout;
}

otimes_model_part otimes_slot_part(otimes_slot slot)
{
    return slots[slot].part;
}

const otimes_arch *otimes_arch_by_type(const char *model_type)
{
    for (int i = 0; i < otimes_arch_count; i++) {
        if (otimes_names_contain(otimes_archs[i].model_types, model_type)) {
            return &otimes_archs[i];
        }
    }
    return NULL;
}

const otimes_arch *otimes_arch_lens(void)
{
    int row = 0;
    while (otimes_archs[row].files.tensors[0] != otimes_names_transformer_lens) {
        row++;
    }
    return &otimes_archs[row];
}

const otimes_tensor_rule *otimes_naming_rule(const otimes_naming *naming, int index)
{
    for (size_t list = 0; naming->tensors[list]; list++) {
        for (const otimes_tensor_rule *rule = naming->tensors[list]; rule->name; rule++) {
            if (index-- == 0) {
                return rule;
            }
        }
    }
    return NULL;
}

/* The first '|'-separated name and where the next begins. */
static size_t first_name(const char *names, const char **next)
{
    const char *end = strchr(names, '|');
    *next = end ? end + 1 : NULL;
    return end ? (size_t)(end - names) : strlen(names);
}

bool otimes_names_contain(const char *names, const char *item)
{
    while (names) {
        const char *next;
        const size_t length = first_name(names, &next);
        if (strlen(item) == length && strncmp(names, item, length) == 0) {
            return true;
        }
        names = next;
    }
    return false;
}

/* A number without leading zeros, of at most 6 digits; how many characters it takes. */
static size_t read_index(const char *text, int64_t *index)
{
    size_t length = 0;
    *index = 0;
    while (text[length] >= '0' && text[length] <= '9' && length < 6) {
        *index = 10 * *index + (text[length++] - '0');
    }
    return length > 1 && text[0] == '0' ? 0 : length;
}

/* The letter of the place that a pattern leaves open here, as 'l' of "{l}"; or NUL. */
static char open_place(const char *pattern, const char *end)
{
    return end - pattern >= 3 && pattern[0] == '{' && pattern[2] == '}' ? pattern[1] : '\0';
}

static bool match_one(const char *pattern, size_t length, const char *name, otimes_place *place)
{
    const char *const end = pattern + length;
    *place = (otimes_place){-1, -1};
    while (pattern < end) {
        const char letter = open_place(pattern, end);
        if (letter == 'l' || letter == 'x') {
            const size_t digits = read_index(name, letter == 'l' ? &place->layer : &place->expert);
            if (digits == 0) {
                return false;
            }
            pattern += 3;
            name += digits;
        } else if (*pattern++ != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

bool otimes_names_match(const char *patterns, const char *name, otimes_place *place)
{
    while (patterns) {
        const char *next;
        const size_t length = first_name(patterns, &next);
        if (match_one(patterns, length, name, place)) {
            return true;
        }
        patterns = next;
    }
    return false;
}
