/*
 * select_catalog.c - the tables of pg_catalog and information_schema that clients look at.
 *
 * Drivers, ORMs and dashboards ask these when they connect or fill a list of tables. They
 * find the relations of SHOW there, with their columns and types, and nothing else. Those of
 * information_schema have the schema in their name, as SQLite has no such schema.
 *
 * Threads: the control thread.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "select_int.h"

#define OID_PG_CATALOG 11
#define OID_PUBLIC     2200
#define OID_RELATIONS  16384 /* that of the first one */

/* clang-format off */
static const struct column database_columns[] = {
    {"oid", 'i'}, {"datname", 's'}, {"datdba", 'i'}, {"encoding", 'i'}, {"datistemplate", 'B'}, {"datallowconn", 'B'},
    {"datcollate", 's'}, {"datctype", 's'},
};

static const struct column namespace_columns[] = {
    {"oid", 'i'}, {"nspname", 's'}, {"nspowner", 'i'},
};

static const struct column type_columns[] = {
    {"oid", 'i'}, {"typname", 's'}, {"typnamespace", 'i'}, {"typlen", 'i'}, {"typtype", 's'}, {"typcategory", 's'},
    {"typdelim", 's'}, {"typrelid", 'i'}, {"typelem", 'i'}, {"typarray", 'i'}, {"typbasetype", 'i'},
    {"typnotnull", 'B'}, {"typtypmod", 'i'},
};

static const struct column class_columns[] = {
    {"oid", 'i'}, {"relname", 's'}, {"relnamespace", 'i'}, {"reltype", 'i'}, {"relowner", 'i'}, {"relkind", 's'},
    {"relnatts", 'i'}, {"relispartition", 'B'},
};

static const struct column attribute_columns[] = {
    {"attrelid", 'i'}, {"attname", 's'}, {"atttypid", 'i'}, {"attlen", 'i'}, {"attnum", 'i'}, {"atttypmod", 'i'},
    {"attnotnull", 'B'}, {"atthasdef", 'B'}, {"attisdropped", 'B'},
};

static const struct column tables_columns[] = {
    {"table_catalog", 's'}, {"table_schema", 's'}, {"table_name", 's'}, {"table_type", 's'},
};

static const struct column columns_columns[] = {
    {"table_catalog", 's'}, {"table_schema", 's'}, {"table_name", 's'}, {"column_name", 's'},
    {"ordinal_position", 'i'}, {"column_default", 's'}, {"is_nullable", 's'}, {"data_type", 's'}, {"udt_name", 's'},
};

static const struct {
    char type;
    const char *name, *long_name, *category;
    int len;
} type_names[] = {
    {'B', "bool", "boolean", "B", 1}, {'q', "int8", "bigint", "N", 8}, {'i', "int4", "integer", "N", 4},
    {'s', "text", "text", "S", -1}, {'N', "numeric", "numeric", "N", -1},
};
/* clang-format on */

static size_t type_index(char type)
{
    for (size_t i = 0; i < ARRAY_SIZE(type_names); i++) {
        if (type_names[i].type == type)
            return i;
    }
    return 3; /* text: times are printed as text */
}

static void lower_name(const struct relation *relation, char *out, size_t size)
{
    str_copy(out, relation->name, size);
    for (char *p = out; *p != '\0'; p++)
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
}

static void fill_database(struct console *c, struct result *r)
{
    (void)c;
    result_row(r);
    result_int(r, 1);
    result_text(r, "pgsluice");
    result_int(r, 10);
    result_int(r, 6);
    result_text(r, "0");
    result_text(r, "1");
    result_text(r, "C");
    result_text(r, "C");
    result_row_end(r);
}

static void namespace_row(struct result *r, int oid, const char *name)
{
    result_row(r);
    result_int(r, oid);
    result_text(r, name);
    result_int(r, 10);
    result_row_end(r);
}

static void fill_namespace(struct console *c, struct result *r)
{
    (void)c;
    namespace_row(r, OID_PG_CATALOG, "pg_catalog");
    namespace_row(r, OID_PUBLIC, "public");
}

static void fill_type(struct console *c, struct result *r)
{
    (void)c;
    for (size_t i = 0; i < ARRAY_SIZE(type_names); i++) {
        result_row(r);
        result_int(r, column_type_oid(type_names[i].type));
        result_text(r, type_names[i].name);
        result_int(r, OID_PG_CATALOG);
        result_int(r, type_names[i].len);
        result_text(r, "b");
        result_text(r, type_names[i].category);
        result_text(r, ",");
        for (int k = 0; k < 4; k++) /* typrelid to typbasetype */
            result_int(r, 0);
        result_text(r, "0");
        result_int(r, -1);
        result_row_end(r);
    }
}

static void fill_class(struct console *c, struct result *r)
{
    char name[CONSOLE_NAME_BYTES];

    (void)c;
    for (size_t i = 0; i < relation_count(); i++) {
        if (relation_at(i)->columns == NULL)
            continue;
        lower_name(relation_at(i), name, sizeof(name));
        result_row(r);
        result_int(r, OID_RELATIONS + (int64_t)i);
        result_text(r, name);
        result_int(r, OID_PUBLIC);
        result_int(r, 0);
        result_int(r, 10);
        result_text(r, "v");
        result_int(r, relation_at(i)->n_columns);
        result_text(r, "0");
        result_row_end(r);
    }
}

static void fill_attribute(struct console *c, struct result *r)
{
    (void)c;
    for (size_t i = 0; i < relation_count(); i++) {
        for (uint16_t k = 0; k < relation_at(i)->n_columns; k++) {
            const struct column *column = &relation_at(i)->columns[k];

            result_row(r);
            result_int(r, OID_RELATIONS + (int64_t)i);
            result_text(r, column->name);
            result_int(r, column_type_oid(column->type));
            result_int(r, type_names[type_index(column->type)].len);
            result_int(r, k + 1);
            result_int(r, -1);
            for (int b = 0; b < 3; b++) /* attnotnull, atthasdef, attisdropped */
                result_text(r, "0");
            result_row_end(r);
        }
    }
}

static void fill_tables(struct console *c, struct result *r)
{
    char name[CONSOLE_NAME_BYTES];

    (void)c;
    for (size_t i = 0; i < relation_count(); i++) {
        if (relation_at(i)->columns == NULL)
            continue;
        lower_name(relation_at(i), name, sizeof(name));
        result_row(r);
        result_text(r, "pgsluice");
        result_text(r, "public");
        result_text(r, name);
        result_text(r, "VIEW");
        result_row_end(r);
    }
}

static void fill_columns(struct console *c, struct result *r)
{
    char name[CONSOLE_NAME_BYTES];

    (void)c;
    for (size_t i = 0; i < relation_count(); i++) {
        lower_name(relation_at(i), name, sizeof(name));
        for (uint16_t k = 0; k < relation_at(i)->n_columns; k++) {
            const struct column *column = &relation_at(i)->columns[k];

            result_row(r);
            result_text(r, "pgsluice");
            result_text(r, "public");
            result_text(r, name);
            result_text(r, column->name);
            result_int(r, k + 1);
            result_text(r, NULL);
            result_text(r, "YES");
            result_text(r, type_names[type_index(column->type)].long_name);
            result_text(r, type_names[type_index(column->type)].name);
            result_row_end(r);
        }
    }
}

#define HAS(c) .columns = c, .n_columns = ARRAY_SIZE(c)

static const struct relation catalog[] = {
    {.name = "pg_database", HAS(database_columns), .fill = fill_database},
    {.name = "pg_namespace", HAS(namespace_columns), .fill = fill_namespace},
    {.name = "pg_type", HAS(type_columns), .fill = fill_type},
    {.name = "pg_class", HAS(class_columns), .fill = fill_class},
    {.name = "pg_attribute", HAS(attribute_columns), .fill = fill_attribute},
    {.name = "information_schema.tables", HAS(tables_columns), .fill = fill_tables},
    {.name = "information_schema.columns", HAS(columns_columns), .fill = fill_columns},
};

size_t catalog_count(void)
{
    return ARRAY_SIZE(catalog);
}

const struct relation *catalog_at(size_t i)
{
    return &catalog[i];
}
