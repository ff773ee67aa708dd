/*
 * test_config_samples.c - the samples that we ship, and a file that was written for PgBouncer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "config_fixture.h"

static char *read_sample(const char *name)
{
    const char *srcdir = getenv("srcdir");
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", srcdir != NULL ? srcdir : ".", name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        fail_msg("%s: cannot read it (srcdir names the top of the sources)", path);
    char *text = calloc(1, 65536);
    assert_true(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

static struct loaded load_text(const char *text)
{
    struct config_args args = {
        .ini_path = "t.ini", .ini_text = text, .ini_text_len = strlen(text), .no_files = true};
    return fixture_load_args(&args);
}

static void test_sample_as_it_is(void **state)
{
    (void)state;
    char *text = read_sample("etc/pgsluice.ini");
    struct loaded l = load_text(text);
    if (l.config == NULL || strstr(l.said, "warning") != NULL)
        fail_msg("%s", l.said);
    for (size_t i = 0; i < option_count(); i++)
        if (strcmp(option_at(i)->name, "conffile") != 0)
            assert_string_equal(config_source_text(l.config, i), "default");
    fixture_done(&l);
    free(text);
}

/* Every line that a user may take the semicolon from must be right. */
static void test_sample_with_all_lines_in_use(void **state)
{
    (void)state;
    char *text = read_sample("etc/pgsluice.ini"), *to = text;
    bool at_start = true;
    for (char *from = text; *from != '\0'; from++) {
        bool is_dropped = at_start && from[0] == ';' && from[1] != ';' && from[1] != '%';
        at_start = *from == '\n';
        if (!is_dropped)
            *to++ = *from;
    }
    *to = '\0';
    struct loaded l = load_text(text);
    if (l.config == NULL || strstr(l.said, "warning") != NULL || strstr(l.said, "note") != NULL)
        fail_msg("%s", l.said);
    assert_int_equal(config_database_count(l.config), 5);
    assert_string_equal(config_find_database_exact(l.config, "audit")->password, "it's secret; keep it");
    assert_string_equal(config_find_database_exact(l.config, "my shop:1")->dbname, "my shop");
    assert_true(str_has_prefix(fixture_source(l.config, "workers"), "t.ini:"));
    assert_int_equal(config_settings(l.config)->default_pool_size, 32);
    fixture_done(&l);
    free(text);
}

static void test_pgbouncers_file_loads_unchanged(void **state)
{
    (void)state;
    char *text = read_sample("tests/unit/data/pgbouncer-sample.ini");
    struct loaded l = load_text(text);
    if (l.config == NULL || strstr(l.said, "warning") != NULL)
        fail_msg("%s", l.said);
    const struct settings *s = config_settings(l.config);
    assert_int_equal(s->unix_socket_mode, 0777);
    assert_int_equal(s->autodb_idle_timeout_us, 3600000000);
    assert_int_equal(s->tcp_defer_accept, 1);
    assert_true(config_is_admin(l.config, "someadmin"));
    assert_string_equal(config_find_database(l.config, "forcedb")->connect_query, "SELECT 1");
    assert_string_equal(config_find_database(l.config, "elsewhere")->host, "testserver");
    fixture_done(&l);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_as_it_is),
        cmocka_unit_test(test_sample_with_all_lines_in_use),
        cmocka_unit_test(test_pgbouncers_file_loads_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
