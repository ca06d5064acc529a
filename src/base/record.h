/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

#include "base/json.h"

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
    GDestroyNotify destroy; /* frees one record; needed for types that stand in lists */
};

#define RECORD_TYPE(name_, Struct, fields_)                                                        \
    {                                                                                              \
        .name = name_, .size = sizeof(Struct), .fields = fields_,                                  \
        .n_fields = G_N_ELEMENTS(fields_)                                                          \
    }

/** Rows of a field table: RECORD_FIELD(VmDisk, target, STRING), RECORD_ENUM_FIELD(Vm, state,
 * vm_state_nicks), RECORD_FIELD_OF(Vm, disks, LIST, vm_disk_type). */
#define RECORD_FIELD(Struct, member, kind_)                                                        \
    {                                                                                              \
        .name = #member, .kind = RECORD_##kind_, .offset = G_STRUCT_OFFSET(Struct, member)         \
    }
#define RECORD_ENUM_FIELD(Struct, member, nicks_)                                                  \
    {                                                                                              \
        .name = #member, .kind = RECORD_ENUM, .offset = G_STRUCT_OFFSET(Struct, member),           \
        .nicks = nicks_                                                                            \
    }
#define RECORD_FIELD_OF(Struct, member, kind_, type_)                                              \
    {                                                                                              \
        .name = #member, .kind = RECORD_##kind_, .offset = G_STRUCT_OFFSET(Struct, member),        \
        .type = &(type_)                                                                           \
    }

/** Defines prefix_type and prefix_free() of a record whose declarations stand before
 * (`extern const RecordType prefix_type; void prefix_free(Struct *);`, or MODEL_DECLARE). */
#define RECORD_DEFINE(Struct, prefix, name_, fields_)                                              \
    void prefix##_free(Struct *record)                                                             \
    {                                                                                              \
        record_free(&prefix##_type, record);                                                       \
    }                                                                                              \
    static void prefix##_destroy(gpointer record)                                                  \
    {                                                                                              \
        record_free(&prefix##_type, record);                                                       \
    }                                                                                              \
    const RecordType prefix##_type = { .name = name_,                                              \
                                       .size = sizeof(Struct),                                     \
                                       .fields = fields_,                                          \
                                       .n_fields = G_N_ELEMENTS(fields_),                          \
                                       .destroy = prefix##_destroy }

gpointer record_new(const RecordType *type);               /* zeroed; free with record_free */
void record_free(const RecordType *type, gpointer record); /* NULL allowed */
gpointer record_copy(const RecordType *type, gconstpointer record); /* deep; NULL gives NULL */
gboolean record_equal(const RecordType *type, gconstpointer a, gconstpointer b);

/** Makes an empty list for a RECORD_LIST field: owned elements are freed by the type's destroy,
 * which must be set (RECORD_DEFINE does). */
GPtrArray *record_list_new(const RecordType *type);

JsonNode *record_to_json(const RecordType *type, gconstpointer record); /* (transfer full) object */
gpointer record_from_json(const RecordType *type, JsonNode *node, GError **error);
JsonNode *record_list_to_json(const RecordType *type, GPtrArray *list); /* NULL list: [] */
char *record_to_string(const RecordType *type, gconstpointer record);   /* one line of JSON */
/** record_from_json of json_parse_limited; length -1: NUL-terminated. */
gpointer record_from_string(const RecordType *type, const char *text, gssize length,
                            GError **error);
