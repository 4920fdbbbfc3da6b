/* SPDX-License-Identifier: MIT
 *
 * tokenizer_config.json, which lies beside tokenizers of Hugging Face models.
 */
#include <string.h>
#include <unistd.h>

#include "token/formats.h"

/* "<s>" or {"content": "<s>"}. */
static const char *token_of(const json_t *json, const char *key)
{
    const json_t *member = json_object_get(json, key);
    const char *text = json_string_value(member);
    return text ? text : json_string_value(json_object_get(member, "content"));
}

static int flag_of(const json_t *json, const char *key)
{
    const json_t *member = json_object_get(json, key);
    return json_is_boolean(member) ? json_is_true(member) : -1;
}

otimes_token_settings otimes_token_settings_of(json_t *json)
{
    return (otimes_token_settings){.json = json,
                                   .bos = token_of(json, "bos_token"),
                                   .eos = token_of(json, "eos_token"),
                                   .unknown = token_of(json, "unk_token"),
                                   .adds_bos = flag_of(json, "add_bos_token"),
                                   .adds_eos = flag_of(json, "add_eos_token")};
}

int otimes_token_settings_read(otimes_token_settings *settings, const char *path, otimes_err *err)
{
    *settings = (otimes_token_settings){.adds_bos = -1, .adds_eos = -1};
    const char *slash = strrchr(path, '/');
    otimes_text name = {0};
    int rc = otimes_text_add(&name, err, "%.*stokenizer_config.json",
                             slash ? (int)(slash - path) + 1 : 0, path);
    if (rc == OTIMES_OK && access(name.data, F_OK) == 0) {
        rc = otimes_json_load_wide(&settings->json, name.data, err);
    }
    otimes_text_free(&name);
    if (rc == OTIMES_OK && settings->json) {
        *settings = otimes_token_settings_of(settings->json);
    }
    return rc;
}

void otimes_token_settings_free(otimes_token_settings *settings)
{
    json_decref(settings->json);
    *settings = (otimes_token_settings){0};
}

static void name_id(const otimes_tokenizer *t, const char *text, int64_t *id)
{
    const int64_t found = text ? otimes_token_id(t, text) : -1;
    *id = found >= 0 ? found : *id;
}

int otimes_token_settings_apply(otimes_tokenizer *t, const otimes_token_settings *settings,
                                otimes_err *err)
{
    t->info.vocab_size = t->info.vocab_size ? t->info.vocab_size : t->pieces.count;
    name_id(t, settings->bos, &t->info.bos);
    name_id(t, settings->eos, &t->info.eos);
    name_id(t, settings->unknown, &t->info.unknown);
    int rc = OTIMES_OK;
    const bool adds_bos = settings->adds_bos < 0 ? t->bos_by_default : settings->adds_bos;
    if (!t->post_decides && adds_bos && t->info.bos >= 0) {
        rc = otimes_ids_add(&t->before, t->info.bos, err);
    }
    if (rc == OTIMES_OK && !t->post_decides && settings->adds_eos == 1 && t->info.eos >= 0) {
        rc = otimes_ids_add(&t->after, t->info.eos, err);
    }
    return rc;
}
