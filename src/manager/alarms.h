/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "manager/ledger.h"
#include "model/model.h"

/** What a person must know of, until somebody acknowledges it. Main context only. */
typedef struct AlarmBook AlarmBook;

AlarmBook *alarmbook_open(Ledger *ledger, GError **error);
void alarmbook_free(AlarmBook *book);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AlarmBook, alarmbook_free)

/** TRUE where it is news: hosts tell of an alarm again after each reconnection. Kept in memory also
 * where it can't be stored (alarm: transfer full). */
const Alarm *alarmbook_raise(AlarmBook *book, Alarm *alarm);
/** Forgets it; (transfer full) its last sight. NOT_FOUND. */
Alarm *alarmbook_acknowledge(AlarmBook *book, const char *id, GError **error);
/** Newest first. (transfer container) of Alarm. */
GPtrArray *alarmbook_list(const AlarmBook *book);
guint alarmbook_count(const AlarmBook *book);
/** Writes what could not be written before. */
void alarmbook_flush(AlarmBook *book);
