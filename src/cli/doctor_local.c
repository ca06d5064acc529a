/* SPDX-License-Identifier: Apache-2.0 */
/* What "godwit doctor" sees of the machine that it runs on, where that is a host. */
#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/doctor.h"
#include "net/identity.h"

#define CONFIG_PATH "/etc/godwit/godwitd.conf"
#define RUN_DIR "/run/godwit"
#define STATE_DIR "/var/lib/godwit"
#define ABOUT "this machine"
#define CONTROL_PORT 16570
#define MIGRATION_PORT 16571
#define PORT_TIMEOUT_S 2

gboolean
doctor_is_host(void)
{
    return g_file_test(CONFIG_PATH, G_FILE_TEST_EXISTS) ||
           g_file_test(RUN_DIR, G_FILE_TEST_IS_DIR) ||
           g_file_test(STATE_DIR "/identity", G_FILE_TEST_IS_DIR);
}

/* ---- libvirt
 * ----------------------------------------------------------------------------------------- */

/* 0, or the errno of connecting to a unix socket. */
static int
try_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    fd_auto int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EAGAIN))
        return errno;
    return 0;
}

static void
look_at_libvirt(GPtrArray *findings)
{
    static const char *const sockets[] = { "/run/libvirt/libvirt-sock",
                                           "/run/libvirt/virtqemud-sock" };
    g_autoptr(GString) troubles = g_string_new(NULL);
    gboolean denied = FALSE;

    for (gsize i = 0; i < G_N_ELEMENTS(sockets); i++) {
        int err = try_socket(sockets[i]);

        if (err == 0) {
            found_ok(findings, "libvirt-socket", ABOUT, "libvirt answers at %s", sockets[i]);
            return;
        }
        denied = denied || err == EACCES;
        g_string_append_printf(troubles, "%s%s: %s", i ? "; " : "", sockets[i], g_strerror(err));
    }
    if (denied)
        found_warn(findings, "libvirt-socket", ABOUT,
                   "Run \"godwit doctor\" as root to look at it.",
                   "libvirt's sockets may not be opened by this user: %s", troubles->str);
    else
        found_error(
            findings, "libvirt-socket", ABOUT,
            "Start it: systemctl start libvirtd, or virtqemud.socket where libvirt is modular.",
            "libvirt's sockets do not answer: %s", troubles->str);
}

/* ---- godwitd
 * -------------------------------------------------------------------------------------------- */

/* godwitd beside this program, in the build folder or where programs for administrators are.
 * (transfer full) or NULL */
static char *
find_godwitd(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self ? g_path_get_dirname(self) : g_strdup("/usr/bin");
    static const char *const places[] = { "godwitd", "../sbin/godwitd", "../host/godwitd",
                                          "/usr/sbin/godwitd", "/usr/local/sbin/godwitd" };

    for (gsize i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_path_is_absolute(places[i])
                                    ? g_strdup(places[i])
                                    : g_build_filename(dir, places[i], NULL);

        if (g_file_test(path, G_FILE_TEST_IS_EXECUTABLE) && !g_file_test(path, G_FILE_TEST_IS_DIR))
            return g_steal_pointer(&path);
    }
    return g_find_program_in_path("godwitd");
}

static void
look_at_config(GPtrArray *findings)
{
    g_autofree char *program = find_godwitd();
    const char *argv[] = { program, "--config", CONFIG_PATH, "--check", NULL };
    g_autofree char *out = NULL, *err = NULL;
    g_autoptr(GError) error = NULL;
    int status = 0;

    if (!program) {
        found_error(findings, "godwitd-program", ABOUT, "Install Godwit for hosts.",
                    "there is no program godwitd");
        return;
    }
    if (geteuid() != 0) {
        found_warn(findings, "godwitd-config", ABOUT,
                   "Run \"godwit doctor\" as root to have it checked.",
                   "godwitd's configuration was not checked");
        return;
    }
    if (!g_file_test(CONFIG_PATH, G_FILE_TEST_EXISTS))
        argv[1] = "--check", argv[2] = NULL;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, &err, &status,
                      &error)) {
        found_error(findings, "godwitd-config", ABOUT, "Install it anew.", "%s cannot be run: %s",
                    program, error->message);
    } else if (g_spawn_check_wait_status(status, NULL)) {
        found_ok(findings, "godwitd-config", ABOUT, "godwitd --check finds nothing wrong");
    } else {
        g_autofree char *all = g_strconcat(out, err, NULL);

        found_error(findings, "godwitd-config", ABOUT,
                    "Correct what it names, then restart godwitd.", "godwitd --check says: %s",
                    g_strstrip(all));
    }
}

static void
look_at_identity(GPtrArray *findings)
{
    g_autofree char *pem = NULL;
    gint days;

    if (!g_file_get_contents(STATE_DIR "/identity/cert.pem", &pem, NULL, NULL)) {
        if (geteuid() == 0)
            found_error(
                findings, "host-certificate", ABOUT,
                "On any machine that is logged in: godwit host add. Then run here what it prints.",
                "this host has not joined a cluster: there is no " STATE_DIR "/identity/cert.pem");
        return;
    }
    days = identity_days_left(pem, NULL);
    if (days < 0)
        found_error(findings, "host-certificate", ABOUT,
                    "Let the host join anew: godwit host add, then run here what it prints.",
                    "this host's certificate expired %d days ago", -days);
    else if (days < 30)
        found_warn(findings, "host-certificate", ABOUT,
                   "Let the host join anew: godwit host add, then run here what it prints.",
                   "this host's certificate expires in %d days", days);
    else
        found_ok(findings, "host-certificate", ABOUT,
                 "this host's certificate is valid for %d more days", days);
}

static void
look_at_port(GPtrArray *findings, const char *check, const char *what, const char *address,
             guint port)
{
    g_autoptr(GError) error = NULL;
    gboolean any = strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;

    if (probe_port(any ? "localhost" : address, port, PORT_TIMEOUT_S, &error))
        found_ok(findings, check, ABOUT, "%s is answered at %s port %u", what, address, port);
    else
        found_error(findings, check, ABOUT,
                    "Does godwitd run (systemctl status godwitd; journalctl -u godwitd)? Does "
                    "something else use the port (ss -ltnp)?",
                    "%s is not answered at %s port %u: %s", what, address, port, error->message);
}

static guint
port_of(GKeyFile *file, const char *group, guint fallback)
{
    gint port = g_key_file_get_integer(file, group, "port", NULL);

    return port > 0 && port < 65536 ? (guint)port : fallback;
}

static void
look_at_ports(GPtrArray *findings)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *control = NULL, *migration = NULL;
    g_auto(GStrv) addresses = NULL;

    if (!g_key_file_load_from_file(file, CONFIG_PATH, G_KEY_FILE_NONE, NULL))
        g_debug("no configuration at %s: defaults", CONFIG_PATH);
    control = g_key_file_get_string(file, "control", "address", NULL);
    look_at_port(findings, "control-port", "the manager", control && *control ? control : "0.0.0.0",
                 port_of(file, "control", CONTROL_PORT));
    migration = g_key_file_get_string(file, "migration", "addresses", NULL);
    if (!migration || !*migration) {
        g_free(migration);
        migration = g_strdup(control && *control ? control : "0.0.0.0");
    }
    addresses = g_strsplit_set(migration, ";,", -1);
    for (char **address = addresses; *address; address++) {
        if (*g_strstrip(*address))
            look_at_port(findings, "migration-port", "a migration", *address,
                         port_of(file, "migration", MIGRATION_PORT));
    }
}

void
doctor_look_here(GPtrArray *findings)
{
    look_at_libvirt(findings);
    look_at_config(findings);
    look_at_identity(findings);
    look_at_ports(findings);
}
