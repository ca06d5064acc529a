/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

/**
 * Records: plain C structs described by a const table of fields, from which JSON, copy and free
 * are derived. All nouns (src/model) and all messages between the programs are records, so there
 * is one place that knows how a struct becomes JSON.
 *
 * JSON names are the field names of the table. An absent or null member leaves the zero value.
 * Unknown members are ignored by record_from_json (peers of other versions), wrong types are
 * GODWIT_ERROR_INVALID naming the path ("disks[2].target: expected a string").
 */
typedef struct RecordType RecordType;

typedef enum {
    RECORD_STRING,  /* char *, owned, NULL = JSON null (omitted) */
    RECORD_BOOL,    /* gboolean */
    RECORD_INT,     /* gint64 */
    RECORD_DOUBLE,  /* double, finite */
    RECORD_STRINGS, /* GStrv, owned, NULL = [] */
    RECORD_ENUM,    /* int, as the nick in field.nicks (NULL-terminated); unknown nick is INVALID */
    RECORD_ONE,     /* pointer to a record of field.type, owned, NULL = absent */
    RECORD_LIST,    /* GPtrArray * of records of field.type with free function, NULL = [] */
} RecordKind;

typedef struct {
    const char *name;
    RecordKind kind;
    gsize offset;
    const RecordType *type;   /* ONE, LIST */
    const char *const *nicks; /* ENUM */
} RecordField;

struct RecordType {
    const char *name; /* for messages */
    gsize size;       /* of the struct, bytes */
    const RecordField *fields;
    gsize n_fields;
};

#define RECORD_TYPE(name_, Struct, fields_)                                                        \
    {                                                                                              \
        .name = name_, .size = sizeof(Struct), .fields = fields_, .n_fields = G_N_ELEMENTS(fields_) \
    }

gpointer record_new(const RecordType *type); /* zeroed; free with record_free */
void record_free(const RecordType *type, gpointer record); /* NULL allowed */
gpointer record_copy(const RecordType *type, gconstpointer record); /* deep; NULL gives NULL */
gboolean record_equal(const RecordType *type, gconstpointer a, gconstpointer b);

/** Makes an empty list for a RECORD_LIST field: owned elements are freed by record type. */
GPtrArray *record_list_new(const RecordType *type);

JsonNode *record_to_json(const RecordType *type, gconstpointer record); /* (transfer full) object */
gpointer record_from_json(const RecordType *type, JsonNode *node, GError **error);
JsonNode *record_list_to_json(const RecordType *type, GPtrArray *list); /* NULL list: [] */
char *record_to_string(const RecordType *type, gconstpointer record); /* one line of JSON */
/** Parses text of at most max_bytes; deeper nesting than 32 is INVALID. */
gpointer record_from_string(const RecordType *type, const char *text, gssize length, GError **error);

/** Parses JSON text with limits (length in bytes, nesting depth 32). (transfer full) */
JsonNode *json_parse_limited(const char *text, gsize length, GError **error);
/** (transfer full) string of node, one line; pretty adds two-space indents. */
char *json_text(JsonNode *node, gboolean pretty);
