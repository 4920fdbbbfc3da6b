/* SPDX-License-Identifier: MIT
 *
 * Layout strings of the architecture table, each against a naive unpacking in the manner of einops:
 * every stored element is asked which weight it belongs to and at which place.
 */
#include "support.h"

#include "la_matrix.h"

#include "model/layout.h"

enum { FACTORS = 6 };

/* "([h k k] e)": an axis is a list of factors, a factor a list of letters one after another, or a
 * digit, which interleaves so many pieces. */
typedef struct naive_factor {
    char letters[FACTORS + 1];
} naive_factor;

typedef struct naive_axis {
    naive_factor factors[FACTORS];
    int count;
} naive_axis;

static int parse_layout(const char *layout, naive_axis *axes)
{
    int count = 0;
    bool grouped = false, joined = false;
    memset(axes, 0, FACTORS * sizeof *axes);
    for (const char *c = layout; *c; c++) {
        naive_axis *axis = &axes[grouped ? count - 1 : count];
        switch (*c) {
        case ' ':
            break;
        case '(':
            grouped = true;
            count++;
            break;
        case ')':
            grouped = false;
            break;
        case '[':
            joined = true;
            axis->count++;
            count += !grouped;
            break;
        case ']':
            joined = false;
            break;
        default:
            if (!joined) {
                axis->count++;
                count += !grouped;
            }
            char *letters = axis->factors[axis->count - 1].letters;
            letters[strlen(letters)] = *c;
        }
    }
    return count;
}

static int64_t extent_of(char letter, const int64_t *dims)
{
    static const char letters[] = {
#define LETTER(name, character) character,
        OTIMES_DIMS(LETTER)
#undef LETTER
    };
    if (letter >= '2' && letter <= '9') {
        return letter - '0';
    }
    for (int i = 0; i < OTIMES_DIM_COUNT; i++) {
        if (letters[i] == letter) {
            return dims[i];
        }
    }
    fail_msg("layout letter '%c' stands for no dimension", letter);
    return 0;
}

static int64_t factor_extent(const naive_factor *factor, const int64_t *dims)
{
    int64_t sum = 0;
    for (const char *c = factor->letters; *c; c++) {
        sum += extent_of(*c, dims);
    }
    return sum;
}

/* Which piece, of which letter, at which place a coordinate along one factor is. */
static char locate(const naive_factor *factor, const int64_t *dims, int64_t coordinate, int *piece,
                   int64_t *place)
{
    const char *c = factor->letters;
    if (c[0] >= '2' && c[0] <= '9') {
        *piece = (int)coordinate;
        return '\0';
    }
    *piece = 0;
    while (coordinate >= extent_of(*c, dims)) {
        coordinate -= extent_of(*c++, dims);
        ++*piece;
    }
    *place = coordinate;
    return *c;
}

/* Reads the stored element with that number: the coordinates it gives to each letter, and whether
 * it is of the wanted piece. */
static bool coordinates_of(const naive_axis *axes, int count, int64_t element, const int64_t *dims,
                           int wanted, int64_t coordinates[128])
{
    bool ours = true;
    for (int a = count - 1; a >= 0; a--) {
        for (int f = axes[a].count - 1; f >= 0; f--) {
            const naive_factor *factor = &axes[a].factors[f];
            const int64_t extent = factor_extent(factor, dims);
            const bool several =
                factor->letters[1] || (factor->letters[0] >= '2' && factor->letters[0] <= '9');
            int piece;
            int64_t place = 0;
            const char letter = locate(factor, dims, element % extent, &piece, &place);
            element /= extent;
            ours = ours && (!several || piece == wanted);
            if (letter) {
                coordinates[(int)letter] = place;
            }
        }
    }
    return ours;
}

/* The place that strides give to the same coordinates in canonical order. */
static int64_t place_by_strides(const otimes_layout *resolved, const char *canonical,
                                const int64_t coordinates[128])
{
    int64_t place = resolved->offset;
    for (int i = 0; i < otimes_layout_ndim(canonical); i++) {
        place +=
            coordinates[(int)canonical[2 * i]] * resolved->stride[otimes_layout_axis(canonical, i)];
    }
    return place;
}

static void check_layout(const char *layout, int piece, const char *canonical, const int64_t *dims)
{
    naive_axis axes[FACTORS];
    const int count = parse_layout(layout, axes);
    otimes_layout resolved;
    otimes_err err = {0};
    assert_ok(otimes_layout_resolve(layout, piece, dims, &resolved, &err), &err);
    assert_int_equal(resolved.ndim, count);
    int64_t total = 1, ours = 0, canonical_size = 1;
    for (int a = 0; a < count; a++) {
        int64_t extent = 1;
        for (int f = 0; f < axes[a].count; f++) {
            extent *= factor_extent(&axes[a].factors[f], dims);
        }
        assert_int_equal(resolved.dim[a], extent);
        total *= extent;
    }
    for (int64_t element = 0; element < total; element++) {
        int64_t coordinates[128] = {0};
        if (coordinates_of(axes, count, element, dims, piece, coordinates)) {
            const int64_t place = place_by_strides(&resolved, canonical, coordinates);
            if (place != element) {
                fail_msg("%s, piece %d: element %lld was looked for at %lld", layout, piece,
                         (long long)element, (long long)place);
            }
            ours++;
        }
    }
    for (int i = 0; i < otimes_layout_ndim(canonical); i++) {
        canonical_size *= extent_of(canonical[2 * i], dims);
    }
    assert_int_equal(ours, canonical_size);
}

static void random_dims(int64_t dims[OTIMES_DIM_COUNT])
{
    for (int i = 0; i < OTIMES_DIM_COUNT; i++) {
        dims[i] = 1 + below(6);
    }
}

static void every_layout_of_the_table(void **state)
{
    (void)state;
    int checked = 0;
    for (int a = 0; a < otimes_arch_count; a++) {
        const otimes_tensor_rule *rule;
        for (int r = 0; (rule = otimes_arch_rule(&otimes_archs[a], r)); r++) {
            for (int round = 0; round < 20; round++) {
                int64_t dims[OTIMES_DIM_COUNT];
                random_dims(dims);
                check_layout(rule->layout, rule->piece, otimes_slot_layout(rule->slot), dims);
            }
            checked++;
        }
    }
    assert_true(checked > 60);
}

/* What the page of the table promises beyond what its rows use today. */
static void layouts_of_other_families(void **state)
{
    (void)state;
    static const struct {
        const char *layout;
        int piece;
        const char *canonical;
    } cases[] = {
        {"(h 3 e) d", 0, "h d e"}, {"(h 3 e) d", 1, "h d e"},
        {"(h 3 e) d", 2, "h d e"}, {"(3 h e) d", 2, "h d e"},
        {"(h 3 e)", 1, "h e"},     {"([h k k] e) d", 2, "k d e"},
        {"([m m]) d", 1, "d m"},   {"d (2 m)", 1, "d m"},
        {"(e h) d", 0, "h d e"},   {"d", 0, "d"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int round = 0; round < 20; round++) {
            int64_t dims[OTIMES_DIM_COUNT];
            random_dims(dims);
            check_layout(cases[i].layout, cases[i].piece, cases[i].canonical, dims);
        }
    }
}

static void dimensions_beyond_63_bits(void **state)
{
    (void)state;
    static const char *const layouts[] = {"v d", "(h e) d", "d ([h k k] e)", "(h 3 e) d", "h d e"};
    int64_t dims[OTIMES_DIM_COUNT];
    for (int i = 0; i < OTIMES_DIM_COUNT; i++) {
        dims[i] = (int64_t)1 << 32;
    }
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        otimes_layout resolved;
        otimes_err err = {0};
        assert_int_equal(otimes_layout_resolve(layouts[i], 0, dims, &resolved, &err),
                         OTIMES_ERR_MODEL);
        assert_non_null(strstr(err.msg, layouts[i]));
    }
}

static void learning_dimensions(void **state)
{
    (void)state;
    const int64_t shape[] = {3, 5, 7};
    int64_t dims[OTIMES_DIM_COUNT] = {0};
    dims[OTIMES_DIM_D_HEAD] = 11;
    otimes_layout_infer("h d e", 3, shape, dims);
    assert_int_equal(dims[OTIMES_DIM_N_HEADS], 3);
    assert_int_equal(dims[OTIMES_DIM_D_MODEL], 5);
    assert_int_equal(dims[OTIMES_DIM_D_HEAD], 11); /* known already */
    otimes_layout_infer("v d", 3, shape, dims);
    otimes_layout_infer("(h e) v", 2, shape, dims);
    otimes_layout_infer("v ([h k k] e)", 2, shape, dims);
    assert_int_equal(dims[OTIMES_DIM_D_VOCAB], 0); /* another rank, or an axis of several */
    otimes_layout_infer("v d", 2, shape, dims);
    assert_int_equal(dims[OTIMES_DIM_D_VOCAB], 3);
}

/* Rows of the table fit the canonical order: no letter is missing, pieces only where there are
 * some. */
static void rules_name_their_dimensions(void **state)
{
    (void)state;
    for (int a = 0; a < otimes_arch_count; a++) {
        const otimes_tensor_rule *rule;
        for (int r = 0; (rule = otimes_arch_rule(&otimes_archs[a], r)); r++) {
            const char *canonical = otimes_slot_layout(rule->slot);
            for (int i = 0; i < otimes_layout_ndim(canonical); i++) {
                assert_non_null(strchr(rule->layout, canonical[2 * i]));
            }
            assert_true(rule->piece == 0 || strpbrk(rule->layout, "[23456789"));
        }
    }
}

static void names_with_layers(void **state)
{
    (void)state;
    static const struct {
        const char *patterns, *name;
        int64_t layer; /* -2: no match */
    } cases[] = {
        {"h.{l}.attn", "h.0.attn", 0},
        {"h.{l}.attn", "h.12.attn", 12},
        {"h.{l}.attn", "h.012.attn", -2},
        {"h.{l}.attn", "h..attn", -2},
        {"h.{l}.attn", "h.1.attnx", -2},
        {"h.{l}.attn", "h.-1.attn", -2},
        {"h.{l}.attn", "h.999999.attn", 999999},
        {"h.{l}.attn", "h.1000000.attn", -2},
        {"a|b.{l}|c", "b.3", 3},
        {"a|b.{l}|c", "c", -1},
        {"a|b", "a|b", -2},
        {"a", "", -2},
        {"wte", "wte", -1},
        {"wte", "wte.weight", -2},
        {"h.{l}", "h.5x", -2},
        {"h.{l}", "h.", -2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t layer = -5;
        const bool matches = otimes_names_match(cases[i].patterns, cases[i].name, &layer);
        assert_int_equal(matches, cases[i].layer != -2);
        assert_true(!matches || layer == cases[i].layer);
    }
    assert_true(otimes_names_contain("a|bc|d", "bc"));
    assert_false(otimes_names_contain("a|bc|d", "b"));
    assert_false(otimes_names_contain("a|bc|d", ""));
    assert_false(otimes_names_contain("a|bc|d", "a|bc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_of_the_table),   cmocka_unit_test(layouts_of_other_families),
        cmocka_unit_test(dimensions_beyond_63_bits),   cmocka_unit_test(learning_dimensions),
        cmocka_unit_test(rules_name_their_dimensions), cmocka_unit_test(names_with_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
