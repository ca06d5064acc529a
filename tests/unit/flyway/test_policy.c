/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/policy.h"
int main(void) { return 0; }
