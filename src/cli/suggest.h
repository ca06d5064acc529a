/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** The known word that somebody who typed `word` most likely meant, or NULL where none is near.
 * known: NULL-terminated. */
const char *suggest_nearest(const char *word, const char *const *known);
