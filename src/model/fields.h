/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Short words for the field tables of this folder's .c files; included by nothing else. */
#include "model/model.h"

#define STRING(S, m) RECORD_FIELD(S, m, STRING)
#define BOOL(S, m) RECORD_FIELD(S, m, BOOL)
#define INT(S, m) RECORD_FIELD(S, m, INT)
#define DOUBLE(S, m) RECORD_FIELD(S, m, DOUBLE)
#define STRINGS(S, m) RECORD_FIELD(S, m, STRINGS)
#define ENUM(S, m, nicks_) RECORD_ENUM_FIELD(S, m, nicks_)
#define ONE(S, m, type_) RECORD_FIELD_OF(S, m, ONE, type_)
#define LIST(S, m, type_) RECORD_FIELD_OF(S, m, LIST, type_)
