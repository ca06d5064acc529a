/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** schema/agent.yaml (the API of a host's agent) as JSON, NUL-terminated; the length is without the NUL. */
extern const char schema_agent_json[];
extern const gsize schema_agent_json_length;
