/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/tools.h"

gpointer
tools_new(void)
{
    Tools *tools = g_new0(Tools, 1);

    tools->codec = page_codec_new();
    return tools;
}

void
tools_free(gpointer data)
{
    Tools *tools = data;

    page_codec_free(tools->codec);
    hash_free(tools->hasher);
    g_free(tools);
}

PageHasher *
tools_hasher(Tools *tools, const Known *known)
{
    if (tools->hasher == NULL)
        tools->hasher = known_hasher_new(known);
    return tools->hasher;
}
