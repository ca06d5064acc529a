/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Alarms are known by the id that whoever raised them gave. A host tells its alarms again whenever
 * the manager connects, so the ids of acknowledged ones are kept too (alarms-read/ID), else they
 * would come back. Both are bounded by ALARMS_MAX; the oldest go first.
 */
#include "manager/alarms.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"

#define RAISED "alarms/"
#define READ "alarms-read/"
#define ALARMS_MAX 1000
#define ALARM_ID_MAX 128 /* as in schema/openapi.yaml */

struct AlarmBook {
    Ledger *ledger;        /* not owned */
    GPtrArray *alarms;     /* owned Alarm, oldest first */
    GPtrArray *read;       /* owned ids of acknowledged ones, oldest first */
    GHashTable *unwritten; /* ids of alarms that wait to be written */
};

static char *
key_of(const char *prefix, const char *id)
{
    return g_strconcat(prefix, id, NULL);
}

static guint
find(const AlarmBook *book, const char *id)
{
    guint i = 0;

    while (i < book->alarms->len && strcmp(((Alarm *)book->alarms->pdata[i])->id, id) != 0)
        i++;
    return i;
}

static gint
by_time(gconstpointer a, gconstpointer b)
{
    const Alarm *x = *(Alarm *const *)a, *y = *(Alarm *const *)b;

    return (x->raised_ms > y->raised_ms) - (x->raised_ms < y->raised_ms);
}

static gint
by_value(gconstpointer a, gconstpointer b)
{
    const StoreEntry *x = *(StoreEntry *const *)a, *y = *(StoreEntry *const *)b;
    gint64 x_ms = g_ascii_strtoll(x->value, NULL, 10), y_ms = g_ascii_strtoll(y->value, NULL, 10);

    return (x_ms > y_ms) - (x_ms < y_ms);
}

static void
read_all(AlarmBook *book, GPtrArray *raised, GPtrArray *read)
{
    for (guint i = 0; i < raised->len; i++) {
        const StoreEntry *entry = raised->pdata[i];
        g_autoptr(GError) error = NULL;
        g_autoptr(Alarm) alarm = record_from_string(&alarm_record_type, entry->value, -1, &error);

        if (alarm != NULL && alarm->id != NULL)
            g_ptr_array_add(book->alarms, g_steal_pointer(&alarm));
        else
            g_warning("stored alarm %s is left out: %s", entry->key,
                      error ? error->message : "it has no id");
    }
    g_ptr_array_sort(book->alarms, by_time);
    g_ptr_array_sort(read, by_value);
    for (guint i = 0; i < read->len; i++)
        g_ptr_array_add(book->read, g_strdup(((StoreEntry *)read->pdata[i])->key + strlen(READ)));
}

AlarmBook *
alarmbook_open(Ledger *ledger, GError **error)
{
    g_autoptr(AlarmBook) book = g_new0(AlarmBook, 1);
    g_autoptr(GPtrArray) raised = NULL, read = NULL;

    book->ledger = ledger;
    book->alarms = record_list_new(&alarm_record_type);
    book->read = g_ptr_array_new_with_free_func(g_free);
    book->unwritten = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    raised = ledger_list(ledger, RAISED, error);
    read = raised != NULL ? ledger_list(ledger, READ, error) : NULL;
    if (read == NULL)
        return NULL;
    read_all(book, raised, read);
    return g_steal_pointer(&book);
}

void
alarmbook_free(AlarmBook *book)
{
    if (book == NULL)
        return;
    g_hash_table_unref(book->unwritten);
    g_ptr_array_unref(book->read);
    g_ptr_array_unref(book->alarms);
    g_free(book);
}

static void
write_or_wait(AlarmBook *book, const Alarm *alarm)
{
    g_autofree char *key = key_of(RAISED, alarm->id);
    g_autofree char *value = record_to_string(&alarm_record_type, alarm);

    if (ledger_put(book->ledger, key, value, NULL))
        g_hash_table_remove(book->unwritten, alarm->id);
    else
        g_hash_table_add(book->unwritten, g_strdup(alarm->id));
}

static void
drop(AlarmBook *book, guint at)
{
    const Alarm *alarm = book->alarms->pdata[at];
    g_autofree char *key = key_of(RAISED, alarm->id);

    ledger_delete(book->ledger, key, NULL);
    g_hash_table_remove(book->unwritten, alarm->id);
    g_ptr_array_remove_index(book->alarms, at);
}

const Alarm *
alarmbook_raise(AlarmBook *book, Alarm *alarm)
{
    g_autoptr(Alarm) mine = alarm;
    const Alarm *raised = mine;

    if (mine->id == NULL || mine->message == NULL || mine->id[0] == '\0' ||
        strlen(mine->id) > ALARM_ID_MAX || find(book, mine->id) < book->alarms->len ||
        g_ptr_array_find_with_equal_func(book->read, mine->id, g_str_equal, NULL))
        return NULL;
    if (mine->raised_ms == 0)
        mine->raised_ms = clock_wall_ms();
    g_warning("alarm %s: %s", mine->id, mine->message);
    if (book->alarms->len >= ALARMS_MAX)
        drop(book, 0);
    write_or_wait(book, mine);
    g_ptr_array_add(book->alarms, g_steal_pointer(&mine));
    return raised;
}

static void
remember_read(AlarmBook *book, const char *id)
{
    if (book->read->len >= ALARMS_MAX) {
        g_autofree char *key = key_of(READ, book->read->pdata[0]);

        ledger_delete(book->ledger, key, NULL);
        g_ptr_array_remove_index(book->read, 0);
    }
    g_ptr_array_add(book->read, g_strdup(id));
}

Alarm *
alarmbook_acknowledge(AlarmBook *book, const char *id, GError **error)
{
    guint at = find(book, id);
    g_autoptr(Alarm) alarm = NULL;
    g_autofree char *key = key_of(READ, id);
    g_autofree char *now = g_strdup_printf("%" G_GINT64_FORMAT, clock_wall_ms());

    if (at >= book->alarms->len) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "no alarm \"%s\"; GET /api/v1/alarms lists those there are", id);
        return NULL;
    }
    if (!ledger_put(book->ledger, key, now, error))
        return NULL;
    alarm = record_copy(&alarm_record_type, book->alarms->pdata[at]);
    remember_read(book, id);
    drop(book, at);
    return g_steal_pointer(&alarm);
}

GPtrArray *
alarmbook_list(const AlarmBook *book)
{
    GPtrArray *list = g_ptr_array_new();

    for (guint i = book->alarms->len; i-- > 0;)
        g_ptr_array_add(list, book->alarms->pdata[i]);
    return list;
}

guint
alarmbook_count(const AlarmBook *book)
{
    return book->alarms->len;
}

void
alarmbook_flush(AlarmBook *book)
{
    for (guint i = 0; i < book->alarms->len; i++) {
        const Alarm *alarm = book->alarms->pdata[i];

        if (g_hash_table_contains(book->unwritten, alarm->id))
            write_or_wait(book, alarm);
    }
}
