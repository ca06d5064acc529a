/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/doctor.h"

#include "base/error.h"
#include "base/units.h"
#include "net/identity.h"

/* Days before its end at which a certificate is warned about. */
#define DAYS_WARN 30
/* The Date header has whole seconds. */
#define CLOCK_WARN_MS 3000
#define CLOCK_ERROR_MS 60000
#define CLOCK_REMEDY                                                                               \
    "Let chronyd or systemd-timesyncd keep the clocks: certificates and join tokens depend on "    \
    "them, and guests' clocks follow."

static void
judge_session(const DoctorFacts *facts, GPtrArray *findings)
{
    const GError *e = facts->session_error;

    if (!e)
        return;
    found_error(findings, "login", facts->url ? facts->url : "login",
                "godwit login URL --token TOKEN; godwit-manager printed the first token at its "
                "first start.",
                "%s", e->message);
}

static void
judge_reachable(const DoctorFacts *facts, GPtrArray *findings)
{
    if (facts->probe_error)
        found_error(findings, "manager-reachable", facts->url,
                    "Does godwit-manager run there (systemctl status godwit-manager)? Is TCP port "
                    "8443 open from here to there? "
                    "Is the address right (godwit login)?",
                    "does not answer: %s", facts->probe_error->message);
    else
        found_ok(findings, "manager-reachable", facts->url, "answers");
}

static void
judge_expiry(GPtrArray *findings, const char *check, const char *url, const char *what,
             const char *pem)
{
    gint days = identity_days_left(pem, NULL);
    const char *remedy = "Restart godwit-manager: it makes a new certificate for itself when the "
                         "old one is near its end.";

    if (days < 0)
        found_error(findings, check, url, remedy, "%s expired %d days ago", what, -days);
    else if (days < DAYS_WARN)
        found_warn(findings, check, url, remedy, "%s expires in %d days", what, days);
    else
        found_ok(findings, check, url, "%s is valid for %d more days", what, days);
}

static void
judge_certificate(const DoctorFacts *facts, GPtrArray *findings)
{
    const char *pem = facts->probe->cert_pem;
    g_autoptr(GError) error = NULL;
    IdentityName name;
    gboolean signed_by_ca = TRUE;

    if (!pem)
        return;
    if (facts->ca_pem && !identity_verify(pem, facts->ca_pem, &error))
        signed_by_ca = FALSE;
    else if (facts->ca_pem &&
             (!identity_name_of(pem, &name, &error) || name.role != IDENTITY_MANAGER))
        signed_by_ca = FALSE;
    if (!signed_by_ca) {
        found_error(findings, "manager-certificate", facts->url,
                    "Is it the right address? If the manager was set up anew, log in again with "
                    "its new token (godwit login). "
                    "Otherwise somebody sits between.",
                    "its certificate is not that of the cluster's manager: %s",
                    error ? error->message : "it is another's");
        return;
    }
    judge_expiry(findings, "manager-certificate", facts->url, "its certificate", pem);
    if (facts->ca_pem && identity_days_left(facts->ca_pem, NULL) < 365)
        judge_expiry(findings, "ca-certificate", facts->url, "the certificate of the cluster's CA",
                     facts->ca_pem);
}

static void
judge_clock(const DoctorFacts *facts, GPtrArray *findings)
{
    const Probe *probe = facts->probe;
    gint64 middle_ms = (probe->asked_ms + probe->answered_ms) / 2;
    gint64 offset_ms =
        probe->clock_ms + 500 - middle_ms; /* Date is cut to seconds: half of one is added */
    g_autofree char *text = units_duration(ABS(offset_ms) * 1000);
    const char *side = offset_ms > 0 ? "ahead of" : "behind";

    if (probe->clock_ms == 0 || probe->answered_ms == 0)
        return;
    if (ABS(offset_ms) > CLOCK_ERROR_MS)
        found_error(findings, "manager-clock", facts->url, CLOCK_REMEDY,
                    "its clock is %s %s this machine's", text, side);
    else if (ABS(offset_ms) > CLOCK_WARN_MS)
        found_warn(findings, "manager-clock", facts->url, CLOCK_REMEDY,
                   "its clock is %s %s this machine's", text, side);
    else
        found_ok(findings, "manager-clock", facts->url, "its clock agrees with this machine's");
}

static const char *
member(JsonNode *node, const char *name)
{
    if (!node || !JSON_NODE_HOLDS_OBJECT(node))
        return NULL;
    return json_object_get_string_member_with_default(json_node_get_object(node), name, NULL);
}

static void
judge_health(const DoctorFacts *facts, GPtrArray *findings)
{
    const char *database = member(facts->health, "database"),
               *status = member(facts->health, "status");

    if (!facts->health) {
        if (facts->health_error)
            found_error(findings, "manager-health", facts->url,
                        "Look at its log: journalctl -u godwit-manager.",
                        "does not tell its health: %s", facts->health_error->message);
        return;
    }
    if (g_strcmp0(database, "ok") == 0)
        found_ok(findings, "database", facts->url, "its database works");
    else
        found_error(findings, "database", facts->url,
                    "Free space or repair the disk of its data folder (/var/lib/godwit-manager); "
                    "it goes on by itself then.",
                    "its database does not work: %s", database ? database : "it does not say why");
    if (g_strcmp0(status, "ok") != 0 && g_strcmp0(database, "ok") == 0)
        found_warn(findings, "manager-health", facts->url,
                   "Look at its log: journalctl -u godwit-manager.", "says that it is %s",
                   status ? status : "not well");
}

static void
judge_version(const DoctorFacts *facts, GPtrArray *findings)
{
    const char *theirs = member(facts->version, "version");

    if (!theirs)
        return;
    if (strcmp(theirs, GODWIT_VERSION) != 0)
        found_warn(findings, "manager-version", facts->url, "Bring both to the same version.",
                   "is of version %s, this program of %s", theirs, GODWIT_VERSION);
    else
        found_ok(findings, "manager-version", facts->url, "version %s, as this program", theirs);
}

static void
judge_token(const DoctorFacts *facts, GPtrArray *findings)
{
    const GError *e = facts->token_error;

    if (e && (g_error_matches(e, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED) ||
              g_error_matches(e, GODWIT_ERROR, GODWIT_ERROR_FORBIDDEN)))
        found_error(findings, "token", facts->url,
                    "Log in with a token that is valid: godwit login URL --token TOKEN.",
                    "the token is not accepted: %s", e->message);
    else if (e)
        found_error(findings, "token", facts->url, "Look at its log: journalctl -u godwit-manager.",
                    "cannot be asked: %s", e->message);
    else if (facts->hosts)
        found_ok(findings, "token", facts->url, "the token is accepted");
}

static void
judge_alarms(const DoctorFacts *facts, GPtrArray *findings)
{
    for (guint i = 0; facts->alarms && i < facts->alarms->len; i++) {
        const Alarm *alarm = g_ptr_array_index(facts->alarms, i);
        g_autofree char *remedy =
            g_strdup_printf("Do what it says, then: godwit alarm ack %s", alarm->id);

        found_warn(findings, "alarm",
                   alarm->vm     ? alarm->vm
                   : alarm->host ? alarm->host
                                 : "alarm",
                   remedy, "%s", alarm->message);
    }
}

void
doctor_judge_manager(const DoctorFacts *facts, GPtrArray *findings)
{
    judge_session(facts, findings);
    if (!facts->url)
        return;
    judge_reachable(facts, findings);
    if (facts->probe_error)
        return;
    judge_certificate(facts, findings);
    judge_clock(facts, findings);
    judge_health(facts, findings);
    judge_version(facts, findings);
    judge_token(facts, findings);
    judge_alarms(facts, findings);
}
