/* SPDX-License-Identifier: MIT
 *
 * Results that must not be compared, or only as far as they agree: facts, arrays and axes of one
 * alone, settings.
 */
#include <math.h>
#include <string.h>

#include "compared.h"

/* ---- what cannot be compared ---- */

static void other_shapes_are_told(void **state)
{
    static const char *const words[] = {"a", "b"};
    const otimes_axis p = {.name = "p", .length = 2}, q = {.name = "q", .length = 2},
                      kind_a = {.name = "kind", .length = 2, .text = words},
                      kind_b = {.name = "kind", .length = 2};
    const double x[2] = {0};
    const int64_t i[2] = {0};
    (void)state;
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    add_list(a, "names", OTIMES_F64, &p, x);
    add_list(b, "names", OTIMES_F64, &q, x);
    add_list(a, "types", OTIMES_F64, &p, x);
    add_list(b, "types", OTIMES_I64, &p, i);
    add_list(a, "labels", OTIMES_F64, &kind_a, x);
    add_list(b, "labels", OTIMES_F64, &kind_b, x);
    add_list(a, "here", OTIMES_F64, &p, x);
    add_list(b, "there", OTIMES_F64, &p, x);
    compared c = diff(a, b, NULL);
    assert_int_equal(c.equal, 0);
    assert_string_equal(text_of(&c, "status", "names"), "axes differ");
    assert_string_equal(text_of(&c, "status", "types"), "types differ");
    assert_string_equal(text_of(&c, "status", "labels"), "axes differ");
    assert_string_equal(text_of(&c, "status", "here"), "only in A");
    assert_string_equal(text_of(&c, "status", "there"), "only in B");
    assert_int_equal(count_of(&c, "only_a", "here"), 2);
    assert_int_equal(count_of(&c, "only_b", "there"), 2);
    end(&c, &a, &b);
}

/* With `common` an array or an axis of one alone is no difference. */
static void one_alone_may_be_allowed(void **state)
{
    const otimes_axis p = {.name = "p", .length = 2};
    const double x[2] = {0};
    const otimes_diff_settings common = {.common = 1};
    (void)state;
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    add_list(a, "both", OTIMES_F64, &p, x);
    add_list(b, "both", OTIMES_F64, &p, x);
    add_list(a, "one", OTIMES_F64, &p, x);
    compared c = diff(a, b, NULL);
    assert_int_equal(c.equal, 0);
    otimes_memory_sink_free(&c.result);
    c = diff(b, a, NULL);
    assert_int_equal(c.equal, 0);
    otimes_memory_sink_free(&c.result);
    c = diff(b, a, &common);
    assert_int_equal(c.equal, 1);
    end(&c, &a, &b);
}

/* An axis is compared even where no entry lies along it. */
static void labels_alone_can_differ(void **state)
{
    const otimes_axis p = {.name = "p", .length = 2}, longer = {.name = "p", .length = 3},
                      none = {.name = "none"};
    const double x[1] = {0};
    const otimes_diff_settings common = {.common = 1};
    otimes_array about = {.name = "x", .type = OTIMES_F64, .ndim = 2, .axis = {&p, &none}};
    (void)state;
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    add(a, &about, x);
    about.axis[0] = &longer;
    add(b, &about, x);
    for (int turned = 0; turned < 2; turned++) {
        compared c = turned ? diff(b, a, NULL) : diff(a, b, NULL);
        assert_string_equal(text_of(&c, "status", "x"), "equal");
        assert_int_equal(c.equal, 0);
        assert_string_equal(text_of(&c, turned ? "first_only_a" : "first_only_b", "p"), "2");
        otimes_memory_sink_free(&c.result);
    }
    compared c = diff(a, b, &common);
    assert_int_equal(c.equal, 1);
    end(&c, &a, &b);
}

/* ---- facts ---- */

static void other_processing_is_refused(void **state)
{
    static const char *const names[] = {"fold_ln",        "center_writing_weights",
                                        "center_unembed", "fold_value_biases",
                                        "strength",       "some_new_setting"};
    const otimes_diff_settings any = {.any_processing = 1};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        otimes_memory_sink *a = new_result("s"), *b = new_result("s");
        compared c;
        otimes_err err = {0};
        add_fact(a, names[i], "applied");
        add_fact(b, names[i], "off");
        assert_int_equal(try_diff(a, b, NULL, &c, &err), OTIMES_ERR_UNSUPPORTED);
        assert_int_equal(c.equal, -1);
        assert_non_null(strstr(err.msg, names[i]));
        assert_non_null(strstr(err.msg, "'applied' in A and 'off' in B"));
        otimes_memory_sink_free(&c.result);
        c = diff(a, b, &any);
        assert_int_equal(c.equal, 1);
        assert_string_equal(text_of(&c, "fact_kind", names[i]), "processing");
        assert_string_equal(text_of(&c, "fact_a", names[i]), "applied");
        assert_string_equal(text_of(&c, "fact_b", names[i]), "off");
        end(&c, &a, &b);
    }
}

static void other_schemas_are_refused(void **state)
{
    (void)state;
    compared c;
    otimes_err err = {0};
    otimes_memory_sink *a = new_result("otimes-x"), *b = new_result("otimes-y"), *none;
    assert_int_equal(try_diff(a, b, NULL, &c, &err), OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "schema: expected"));
    otimes_memory_sink_free(&c.result);
    add_fact(b, "schema", "otimes-x");
    add_number(a, "schema_version", 1);
    assert_int_equal(try_diff(a, b, NULL, &c, &err), OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "schema_version: expected"));
    assert_non_null(strstr(err.msg, "'1' in A and none in B"));
    otimes_memory_sink_free(&c.result);
    assert_int_equal(try_diff(b, a, NULL, &c, &err),
                     OTIMES_ERR_UNSUPPORTED); /* only in the other */
    assert_non_null(strstr(err.msg, "none in A and '1' in B"));
    otimes_memory_sink_free(&c.result);
    assert_int_equal(otimes_memory_sink_new(&none, NULL), 0);
    assert_int_equal(try_diff(a, none, NULL, &c, &err), OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "B: expected a result of otimes"));
    end(&c, &a, &b);
    otimes_memory_sink_free(&none);
}

/* Another date, file or model is told and does not refuse; what is a result is a difference. */
static void other_facts_are_told(void **state)
{
    static const struct {
        const char *name, *kind;
        int equal;
    } facts[] = {{"date", "provenance", 1},         {"command_line", "provenance", 1},
                 {"model_sha256", "provenance", 1}, {"otimes_version", "provenance", 1},
                 {"architecture", "model", 1},      {"d_model", "model", 1},
                 {"complete", "result", 0}};
    (void)state;
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        otimes_memory_sink *a = new_result("s"), *b = new_result("s");
        add_number(a, facts[i].name, 1);
        add_number(b, facts[i].name, 2);
        compared c = diff(a, b, NULL);
        assert_int_equal(c.equal, facts[i].equal);
        assert_string_equal(text_of(&c, "fact_kind", facts[i].name), facts[i].kind);
        assert_string_equal(text_of(&c, "fact_a", facts[i].name), "1");
        end(&c, &a, &b);
    }
}

/* ---- what is wrong ---- */

static void bad_settings_are_refused(void **state)
{
    static const otimes_diff_settings bad[] = {
        {.rtol = -1}, {.atol = -1e-300}, {.rtol = NAN}, {.atol = INFINITY}, {.block = -1}};
    (void)state;
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        compared c;
        otimes_err err = {0};
        assert_int_equal(try_diff(a, b, &bad[i], &c, &err), OTIMES_ERR_ARGUMENT);
        assert_true(err.msg[0] != '\0');
        otimes_memory_sink_free(&c.result);
    }
    otimes_memory_sink_free(&a);
    otimes_memory_sink_free(&b);
}

/* One name for axes of two lengths in one result. */
static void axes_of_one_name_are_one(void **state)
{
    const otimes_axis p = {.name = "p", .length = 2}, longer = {.name = "p", .length = 3};
    const double x[3] = {0};
    (void)state;
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    compared c;
    otimes_err err = {0};
    add_list(a, "x", OTIMES_F64, &p, x);
    add_list(b, "x", OTIMES_F64, &p, x);
    add_list(b, "y", OTIMES_F64, &longer, x);
    assert_int_equal(try_diff(a, b, NULL, &c, &err), OTIMES_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "B: axis p: expected one length, got 2 and 3"));
    end(&c, &a, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_shapes_are_told),     cmocka_unit_test(one_alone_may_be_allowed),
        cmocka_unit_test(labels_alone_can_differ),   cmocka_unit_test(other_processing_is_refused),
        cmocka_unit_test(other_schemas_are_refused), cmocka_unit_test(other_facts_are_told),
        cmocka_unit_test(bad_settings_are_refused),  cmocka_unit_test(axes_of_one_name_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
