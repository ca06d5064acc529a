# SPDX-License-Identifier: Apache-2.0
def prepare(lab):
    return None
