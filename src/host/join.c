/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The token carries the first digits of the cluster CA's fingerprint, so whoever holds it can tell
 * the real manager from one that sits between. In this order:
 *
 *   1. GET /api/v1/ca without trust; its fingerprint must be the token's, else nothing more is sent
 * (the token neither)
 *   2. a key and a certificate request are made here; the key never leaves the host
 *   3. POST /api/v1/join over TLS that trusts only this CA and expects a manager's certificate
 *   4. the answer is not believed: its CA must be the pinned one, the certificate must be signed by
 * it and say this host's UUID
 *   5. identity, then joined.json are written; only both together count as joined
 *
 * Interrupted anywhere: the host isn't joined, and join can be run again (with a new token, where 3
 * got through).
 */
#include "host/join.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "host/run_dir.h"
#include "net/http_client.h"

#define MANAGER_PORT 8443
#define TOKEN_PREFIX "gwj_"

static gboolean fail(GError **error, int code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static gboolean
fail(GError **error, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, GODWIT_ERROR, code, text);
    return FALSE;
}

/* "https://HOST[:PORT]", nothing behind it. (transfer full) */
static GUri *
parse_url(const char *url, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(url, G_URI_FLAGS_NONE, NULL);
    if (!uri || g_strcmp0(g_uri_get_scheme(uri), "https") != 0 || !g_uri_get_host(uri) ||
        !*g_uri_get_host(uri) || strcmp(g_uri_get_path(uri), "/") > 0 || g_uri_get_query(uri) ||
        g_uri_get_userinfo(uri)) {
        fail(error, GODWIT_ERROR_INVALID, "%s is not a manager's URL: expected https://HOST:%d",
             url, MANAGER_PORT);
        return NULL;
    }
    return g_steal_pointer(&uri);
}

static guint
port_of(GUri *uri)
{
    return g_uri_get_port(uri) > 0 ? g_uri_get_port(uri) : MANAGER_PORT;
}

/* The URL in its normal form. (transfer full) */
static char *
base_url(GUri *uri)
{
    const char *host = g_uri_get_host(uri);
    gboolean v6 = strchr(host, ':') != NULL;
    return g_strdup_printf(v6 ? "https://[%s]:%u" : "https://%s:%u", host, port_of(uri));
}

/* ---- this host's address --------------------------------------------------------------------- */

/* "Connecting" a datagram socket sends nothing, but makes the kernel choose the source address. */
static char *
source_address(GSocketAddress *peer, GError **error)
{
    g_autoptr(GSocket) socket = g_socket_new(g_socket_address_get_family(peer),
                                             G_SOCKET_TYPE_DATAGRAM, G_SOCKET_PROTOCOL_UDP, error);
    if (!socket || !g_socket_connect(socket, peer, NULL, error))
        return NULL;
    g_autoptr(GSocketAddress) local = g_socket_get_local_address(socket, error);
    if (!local)
        return NULL;
    GInetAddress *address = g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(local));
    g_autofree char *text = g_inet_address_to_string(address);
    if (g_inet_address_get_is_loopback(address)) {
        fail(error, GODWIT_ERROR_INVALID,
             "the manager is reached over %s, which other hosts can't use: say this host's address "
             "with --address",
             text);
        return NULL;
    }
    return g_steal_pointer(&text);
}

char *
join_local_address(const char *url, GError **error)
{
    g_autoptr(GUri) uri = parse_url(url, error);
    if (!uri)
        return NULL;
    g_autoptr(GSocketConnectable) name = g_network_address_new(g_uri_get_host(uri), port_of(uri));
    g_autoptr(GSocketAddressEnumerator) addresses = g_socket_connectable_enumerate(name);
    g_autoptr(GError) reason = NULL;
    g_autoptr(GSocketAddress) peer = g_socket_address_enumerator_next(addresses, NULL, &reason);
    char *found = peer ? source_address(peer, &reason) : NULL;
    if (found)
        return found;
    if (reason && reason->domain == GODWIT_ERROR)
        g_propagate_error(error, g_steal_pointer(&reason));
    else
        fail(error, GODWIT_ERROR_UNREACHABLE, "the manager at %s can't be reached from here: %s",
             url, reason ? reason->message : "its name has no address");
    return NULL;
}

/* Which address others shall use. (transfer full) */
static char *
choose_address(const AgentConfig *config, const JoinRequest *request, GError **error)
{
    if (!request->address)
        return config->advertise ? g_strdup(config->advertise)
                                 : join_local_address(request->url, error);
    if (address_is_wildcard(request->address)) {
        fail(error, GODWIT_ERROR_INVALID, "--address %s is no address that others can connect to",
             request->address);
        return NULL;
    }
    if (config->advertise && strcmp(config->advertise, request->address) != 0) {
        fail(error, GODWIT_ERROR_CONFLICT,
             "--address %s, but godwitd.conf says %s: correct [control] advertise (or address) "
             "there, or leave --address out",
             request->address, config->advertise);
        return NULL;
    }
    return g_strdup(request->address);
}

/* ---- joining --------------------------------------------------------------------------------- */

static JsonNode *
make_body(const JoinRequest *request, const char *csr, const char *address, guint port)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *body = json_object_new();
    json_node_take_object(node, body);
    json_object_set_string_member(body, "token", request->token);
    json_object_set_string_member(body, "csr", csr);
    json_object_set_string_member(body, "uuid", request->host_uuid);
    json_object_set_string_member(body, "name", request->host_name);
    json_object_set_string_member(body, "control_address", address);
    json_object_set_int_member(body, "control_port", port);
    return node;
}

/* The answer of POST /join. */
typedef struct {
    char *cert_pem, *ca_pem, *cluster, *manager_uuid;
} JoinAnswer;

static const RecordField join_answer_fields[] = {
    { "cert_pem", RECORD_STRING, G_STRUCT_OFFSET(JoinAnswer, cert_pem) },
    { "ca_pem", RECORD_STRING, G_STRUCT_OFFSET(JoinAnswer, ca_pem) },
    { "cluster", RECORD_STRING, G_STRUCT_OFFSET(JoinAnswer, cluster) },
    { "manager_uuid", RECORD_STRING, G_STRUCT_OFFSET(JoinAnswer, manager_uuid) },
};
static const RecordType join_answer_type =
    RECORD_TYPE("join answer", JoinAnswer, join_answer_fields);

static void
join_answer_free(JoinAnswer *answer)
{
    record_free(&join_answer_type, answer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JoinAnswer, join_answer_free)

static JoinAnswer *
ask_manager(const char *url, const char *ca_pem, JsonNode *body, GError **error)
{
    const HttpClientConfig config = {
        .base_url = url,
        .ca_pem = ca_pem,
        .expect = { .role = IDENTITY_MANAGER }, /* whichever UUID: this CA signs for one cluster */
    };
    g_autoptr(HttpClient) client = http_client_new(&config, error);
    if (!client)
        return NULL;
    g_autoptr(JsonNode) answer =
        http_client_call(client, "POST", "/api/v1/join", body, NULL, error);
    return answer ? record_from_json(&join_answer_type, answer, error) : NULL;
}

/* Step 4: what came back is what was asked for. */
static gboolean
verify_answer(const JoinAnswer *answer, const char *ca_pem, const char *host_uuid,
              IdentityName *name, GError **error)
{
    if (!answer->cert_pem || !answer->ca_pem)
        return fail(error, GODWIT_ERROR_PROTOCOL,
                    "the manager's answer to join holds no certificate: is it of another version?");
    g_autofree char *pinned = identity_fingerprint(ca_pem, error);
    g_autofree char *given = pinned ? identity_fingerprint(answer->ca_pem, error) : NULL;
    if (!given)
        return FALSE;
    if (strcmp(pinned, given) != 0)
        return fail(error, GODWIT_ERROR_UNAUTHORIZED,
                    "the manager sent another CA certificate (%s) than the token's (%s)", given,
                    pinned);
    if (!identity_verify(answer->cert_pem, ca_pem, error) ||
        !identity_name_of(answer->cert_pem, name, error))
        return FALSE;
    if (name->role != IDENTITY_HOST || g_ascii_strcasecmp(name->uuid, host_uuid) != 0)
        return fail(error, GODWIT_ERROR_PROTOCOL,
                    "the manager signed a certificate for %s, this host is %s", name->uuid,
                    host_uuid);
    return TRUE;
}

static Joined *
store(const AgentConfig *config, const JoinRequest *request, const char *url, const char *address,
      const JoinAnswer *answer, Identity *identity, GError **error)
{
    g_autoptr(Joined) joined = record_new(&joined_type);
    joined->manager_url = g_strdup(url);
    joined->manager_uuid = g_strdup(answer->manager_uuid);
    joined->cluster = g_strdup(answer->cluster);
    joined->host_uuid = g_strdup(identity->name.uuid);
    joined->host_name = g_strdup(request->host_name);
    joined->control_address = g_strdup(address);
    joined->control_port = config->control_port;
    joined->joined_ms = clock_wall_ms();
    if (!identity_save(identity, config->identity_dir, error) ||
        !joined_save(joined, config->state_dir, error)) {
        g_prefix_error(error, "joined, but the identity could not be stored: ");
        return NULL;
    }
    return g_steal_pointer(&joined);
}

static gboolean
may_join(const AgentConfig *config, const JoinRequest *request, GError **error)
{
    g_autoptr(Joined) before = joined_load(config->state_dir, NULL);
    if (!before || request->force)
        return TRUE;
    return fail(
        error, GODWIT_ERROR_CONFLICT,
        "this host is joined to %s already (%s): --force replaces that, \"godwitd leave\" ends it",
        before->manager_url, config->state_dir);
}

Joined *
join_cluster(const AgentConfig *config, const JoinRequest *request, GError **error)
{
    if (!may_join(config, request, error))
        return NULL;
    g_autoptr(GUri) uri = parse_url(request->url, error);
    g_autofree char *pin = NULL;
    if (!uri || !token_parse(request->token, TOKEN_PREFIX, &pin, error) ||
        !run_dir_prepare(config, error))
        return NULL;
    g_autofree char *url = base_url(uri);
    g_autofree char *address = choose_address(config, request, error);
    g_autofree char *ca_pem = address ? http_client_fetch_ca(url, pin, error) : NULL;
    if (!ca_pem)
        return NULL;
    g_autofree char *key = NULL, *csr = NULL;
    if (!identity_request(&key, &csr, error))
        return NULL;
    g_autoptr(JsonNode) body = make_body(request, csr, address, config->control_port);
    g_autoptr(JoinAnswer) answer = ask_manager(url, ca_pem, body, error);
    Identity identity = { .key = key, .ca = ca_pem };
    if (!answer || !verify_answer(answer, ca_pem, request->host_uuid, &identity.name, error))
        return NULL;
    identity.cert = answer->cert_pem;
    return store(config, request, url, address, answer, &identity, error);
}

/* ---- leaving --------------------------------------------------------------------------------- */

gboolean
leave_cluster(const AgentConfig *config, gboolean force, GError **error)
{
    g_autoptr(Joined) joined = joined_load(config->state_dir, error);
    if (!joined)
        return FALSE;
    int pid = run_dir_lock_holder(config);
    if (pid)
        return fail(error, GODWIT_ERROR_CONFLICT,
                    "godwitd runs as process %d: stop it first (systemctl stop godwitd)", pid);
    if (!force && run_dir_has_migrations(config))
        return fail(error, GODWIT_ERROR_CONFLICT,
                    "migrations of this host are not settled (%s/migration): start godwitd and let "
                    "them end, or use --force",
                    config->run_dir);
    static const char *const files[] = { "key.pem", "cert.pem", "ca.pem" };
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(config->identity_dir, files[i], NULL);
        if (g_unlink(path) < 0 && errno != ENOENT)
            return fail(error, GODWIT_ERROR_INTERNAL, "%s could not be removed: %s", path,
                        g_strerror(errno));
    }
    g_rmdir(config->identity_dir);
    return joined_remove(config->state_dir, error);
}
