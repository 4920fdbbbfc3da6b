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
        naive_axis *axis = &axes[grouped || joined ? count - 1 : count];
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
    if (letter >= '1' && letter <= '9') {
        return letter - '0';
    }
    if (letter == 'r') { /* d_head in another order, which is not the layout's matter */
        return dims[OTIMES_DIM_D_HEAD];
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

static bool is_count(char letter)
{
    return letter >= '1' && letter <= '9';
}

/* Which piece, of which letter, at which place a coordinate along one factor is. */
static char locate(const naive_factor *factor, const int64_t *dims, int64_t coordinate, int *piece,
                   int64_t *place)
{
    const char *c = factor->letters;
    if (is_count(c[0]) && !c[1]) {
        *piece = (int)coordinate;
        return '\0';
    }
    *piece = 0;
    while (coordinate >= extent_of(*c, dims)) {
        coordinate -= extent_of(*c++, dims);
        ++*piece;
    }
    *place = coordinate;
    return is_count(*c) ? '\0' : *c == 'r' ? 'e' : *c;
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
                factor->letters[1] || (is_count(factor->letters[0]) && factor->letters[0] > '1');
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

/* How far along its axis a letter's coordinate leads, in a row-major tensor. */
static int64_t step_of(const otimes_layout *resolved, otimes_dim dim)
{
    int64_t step = 1;
    if (resolved->of[dim].axis < 0) {
        return 0;
    }
    for (int axis = resolved->ndim - 1; axis > resolved->of[dim].axis; axis--) {
        step *= resolved->dim[axis];
    }
    return step * resolved->of[dim].step;
}

/* The place that strides give to the same coordinates in canonical order. */
static int64_t place_by_strides(const otimes_layout *resolved, const char *canonical,
                                const int64_t coordinates[128])
{
    int64_t place = 0, size = 1;
    for (int axis = resolved->ndim - 1; axis >= 0; axis--) {
        place += resolved->offset[axis] * size;
        size *= resolved->dim[axis];
    }
    place += coordinates['x'] * step_of(resolved, OTIMES_DIM_N_EXPERTS);
    for (int i = 0; i < otimes_layout_ndim(canonical); i++) {
        const otimes_dim dim = otimes_layout_axis(canonical, i);
        if (dim == OTIMES_DIM_N_HEADS && resolved->grouped) {
            place += coordinates['k'] * step_of(resolved, OTIMES_DIM_N_KV_HEADS) +
                     coordinates['g'] * step_of(resolved, OTIMES_DIM_GROUP);
        } else if (dim != OTIMES_DIM_N_EXPERTS) {
            place += coordinates[(int)canonical[2 * i]] * step_of(resolved, dim);
        }
    }
    return place;
}

/* How many elements of a tensor are of the weight: those that repeat are there once. */
static int64_t canonical_size(const otimes_layout *resolved, const char *canonical,
                              const int64_t *dims)
{
    int64_t size = 1;
    for (int i = 0; i < otimes_layout_ndim(canonical); i++) {
        const bool grouped = canonical[2 * i] == 'h' && resolved->grouped;
        const bool there = resolved->of[otimes_layout_axis(canonical, i)].axis >= 0;
        size *= grouped || there ? extent_of(canonical[2 * i], dims) : 1;
    }
    const bool experts = resolved->of[OTIMES_DIM_N_EXPERTS].axis >= 0 && !strchr(canonical, 'x');
    return experts ? size * dims[OTIMES_DIM_N_EXPERTS] : size;
}

static void check_layout(const char *layout, int piece, const char *canonical, const int64_t *dims)
{
    naive_axis axes[FACTORS];
    const int count = parse_layout(layout, axes);
    otimes_layout resolved;
    otimes_err err = {0};
    assert_ok(otimes_layout_resolve(layout, piece, dims, &resolved, &err), &err);
    assert_int_equal(resolved.ndim, count);
    int64_t total = 1, ours = 0;
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
    assert_int_equal(ours, canonical_size(&resolved, canonical, dims));
}

static void random_dims(int64_t dims[OTIMES_DIM_COUNT])
{
    for (int i = 0; i < OTIMES_DIM_COUNT; i++) {
        dims[i] = 1 + below(6);
    }
    dims[OTIMES_DIM_N_HEADS] = dims[OTIMES_DIM_N_KV_HEADS] * dims[OTIMES_DIM_GROUP];
}

/* Every row's own naming, then every row's GGUF naming. */
static const otimes_naming *naming_number(int number)
{
    const otimes_arch *arch = &otimes_archs[number % otimes_arch_count];
    if (number >= 2 * otimes_arch_count) {
        return NULL;
    }
    return number < otimes_arch_count || !arch->gguf_files ? &arch->files : arch->gguf_files;
}

static void every_layout_of_the_table(void **state)
{
    (void)state;
    int checked = 0;
    const otimes_tensor_rule *rule;
    const otimes_naming *naming;
    for (int n = 0; (naming = naming_number(n)); n++) {
        for (int r = 0; (rule = otimes_naming_rule(naming, r)); r++) {
            for (int round = 0; round < 20; round++) {
                int64_t dims[OTIMES_DIM_COUNT];
                random_dims(dims);
                check_layout(rule->layout, rule->piece, otimes_slot_layout(rule->slot), dims);
            }
            checked++;
        }
    }
    assert_true(checked > 1000);
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
        {"(h 3 e) d", 0, "h d e"},
        {"(h 3 e) d", 1, "h d e"},
        {"(h 3 e) d", 2, "h d e"},
        {"(3 h e) d", 2, "h d e"},
        {"(h 3 e)", 1, "h e"},
        {"([h k k] e) d", 2, "k d e"},
        {"([m m]) d", 1, "d m"},
        {"d (2 m)", 1, "d m"},
        {"(e h) d", 0, "h d e"},
        {"d", 0, "d"},
        {"(k [g 1 1] e) d", 0, "h d e"},
        {"(k [g 1 1] e) d", 1, "k d e"},
        {"(k [g 1 1] e) d", 2, "k d e"},
        {"(k [1 g 1] e)", 1, "h e"},
        {"[2 c] d", 1, "c d"},
        {"[c 3] d", 0, "c d"},
        {"x d (n 2)", 1, "d n"},
        {"1 d", 0, "d"},
        {"e", 0, "h e"},
        {"(h r) d", 0, "h d e"},
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
    const otimes_tensor_rule *rule;
    const otimes_naming *naming;
    for (int n = 0; (naming = naming_number(n)); n++) {
        for (int r = 0; (rule = otimes_naming_rule(naming, r)); r++) {
            const char *canonical = otimes_slot_layout(rule->slot);
            const bool head_norm =
                rule->slot == OTIMES_SLOT_Q_NORM_W || rule->slot == OTIMES_SLOT_K_NORM_W;
            for (int i = 0; i < otimes_layout_ndim(canonical); i++) {
                const char letter = canonical[2 * i];
                const bool there = strchr(rule->layout, letter) ||
                                   (letter == 'e' && strchr(rule->layout, 'r')) ||
                                   (letter == 'h' && strchr(rule->layout, 'g'));
                assert_true(there || (head_norm && i == 0));
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
        int64_t layer;  /* -2: no match */
        int64_t expert; /* 0 in this table: none */
    } cases[] = {
        {"h.{l}.attn", "h.0.attn", 0, 0},
        {"h.{l}.attn", "h.12.attn", 12, 0},
        {"h.{l}.attn", "h.012.attn", -2, 0},
        {"h.{l}.attn", "h..attn", -2, 0},
        {"h.{l}.attn", "h.1.attnx", -2, 0},
        {"h.{l}.attn", "h.-1.attn", -2, 0},
        {"h.{l}.attn", "h.999999.attn", 999999, 0},
        {"h.{l}.attn", "h.1000000.attn", -2, 0},
        {"a|b.{l}|c", "b.3", 3, 0},
        {"a|b.{l}|c", "c", -1, 0},
        {"a|b", "a|b", -2, 0},
        {"a", "", -2, 0},
        {"wte", "wte", -1, 0},
        {"wte", "wte.weight", -2, 0},
        {"h.{l}", "h.5x", -2, 0},
        {"h.{l}", "h.", -2, 0},
        {"h.{l}.{x}.w", "h.3.7.w", 3, 7},
        {"h.{l}.{x}.w", "h.3.07.w", -2, 0},
        {"e.{x}", "e.2", -1, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        otimes_place place = {-5, -5};
        const int64_t expert = cases[i].expert ? cases[i].expert : -1;
        const bool matches = otimes_names_match(cases[i].patterns, cases[i].name, &place);
        assert_int_equal(matches, cases[i].layer != -2);
        assert_true(!matches || (place.layer == cases[i].layer && place.expert == expert));
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
