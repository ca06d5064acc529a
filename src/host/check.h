/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "host/agent_config.h"

/** godwitd --check: tries what godwitd needs and prints a line each, with what to do where it isn't
 * right. path: the file as given, for the first line. Blocks for some seconds at most. TRUE where
 * there is no problem. */
gboolean check_run(const AgentConfig *config, const char *path);
