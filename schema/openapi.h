/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** schema/openapi.yaml (the manager's API) as JSON, NUL-terminated; the length is without the NUL. */
extern const char schema_openapi_json[];
extern const gsize schema_openapi_json_length;
