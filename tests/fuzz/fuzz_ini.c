/*
 * fuzz_ini.c - the whole loader, from the bytes of an ini file to a snapshot.
 *
 * Links libconfig.a libauth.a libbase.a and inih, OpenSSL, libidn.
 * Other files are not read (no_files). What loads must print, must not differ
 * from itself, and must take SET.
 */
#include <stdint.h>
#include <stdlib.h>

#include "config/changes.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_change(const struct config_change *change, void *arg)
{
    (void)change;
    (void)arg;
    abort();
}

static void use(const struct config *c, const struct config_args *args, struct config_problems *problems)
{
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < option_count_all(); i++) {
        (void)config_value_text(c, i, &out);
        buf_append_str(&out, config_source_text(c, i));
    }
    for (size_t i = 0; i < config_database_count(c); i++) {
        const struct database_config *db = config_database_at(c, i);
        if (config_find_database(c, db->name) != db || config_pool_size(c, db, NULL) < 0)
            abort();
    }
    for (size_t i = 0; i < config_user_count(c); i++)
        if (config_find_user(c, config_user_at(c, i)->name) != config_user_at(c, i))
            abort();
    struct config *again = config_load(args, problems);
    if (again == NULL)
        abort();
    config_diff(c, again, no_change, NULL);
    config_unref(again);
    struct config *changed = config_with_setting(c, "pool_mode", "transaction", problems);
    if (changed == NULL || config_settings(changed)->pool_mode != POOL_MODE_TRANSACTION)
        abort();
    config_unref(changed);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_problems problems;
    struct config_args args = {
        .ini_path = "fuzz.ini",
        .ini_text = (const char *)data,
        .ini_text_len = size,
        .no_files = true,
    };
    struct buf out;
    config_problems_init(&problems);
    buf_init(&out, 0);
    struct config *c = config_load(&args, &problems);
    if ((c == NULL) != (problems.errors > 0))
        abort();
    if (c != NULL)
        use(c, &args, &problems);
    for (size_t i = 0; i < problems.count; i++)
        config_problem_print(&problems.items[i], &out);
    buf_free(&out);
    config_unref(c);
    config_problems_free(&problems);
    return 0;
}
