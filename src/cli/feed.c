/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A feed is in one of these states (FeedState); the arrows are all the moves there are:
 *
 *   OPEN     a stream request is under way or events come     -> LOST, OVER
 *   LOST     waiting for the next try                         -> ASKING, OVER
 *   ASKING   GET /healthz is under way                        -> OPEN, LOST, OVER
 *   OVER     given up, refused or freed; final
 *
 * After a stream was lost the manager is asked for its health, and only when it answers the stream
 * is opened anew: so "back" is known at once, also where no event comes for a long time. Tries are
 * spaced 0.5 s, 1 s, 2 s, then 4 s. The outage begins with the first loss and ends when a new
 * stream has held for SETTLED_US or brought an event; a manager that answers but drops every stream
 * is thus given up like one that does not answer, after GODWIT_RECONNECT_S seconds.
 *
 * Errors that another try can't mend (no such task, token refused) end the feed at once.
 *
 * feed_free() cancels what is under way and turns the main context until it has ended, so callbacks
 * of the HTTP client never meet a freed feed.
 */
#include "cli/feed.h"

#include "cli/session.h"

#define RECONNECT_DEFAULT_S 120
#define SILENCE_S 40 /* the manager sends a comment every 15 s */
#define SETTLED_US (5 * G_USEC_PER_SEC)
#define DELAY_FIRST_MS 500
#define DELAY_MAX_MS 4000

typedef enum { FEED_OPEN, FEED_LOST, FEED_ASKING, FEED_OVER } FeedState;

struct Feed {
    /* Read-only after start. */
    Cli *cli;
    char *path;
    const FeedFuncs *funcs;
    gpointer user_data;
    gint64 patience_us;
    GCancellable *cancellable;

    FeedState state;
    guint pending;    /* requests whose end has not been told */
    guint timer;      /* next try, in LOST */
    guint delay_ms;   /* before the next try */
    gint64 lost_us;   /* when the outage began; 0 = none */
    gint64 opened_us; /* when the last stream was opened */
};

static void feed_open(Feed *feed);

static void
feed_set_state(Feed *feed, FeedState state)
{
    static const guint legal[] = {
        [FEED_OPEN] = 1u << FEED_LOST | 1u << FEED_OVER,
        [FEED_LOST] = 1u << FEED_ASKING | 1u << FEED_OVER,
        [FEED_ASKING] = 1u << FEED_OPEN | 1u << FEED_LOST | 1u << FEED_OVER,
        [FEED_OVER] = 0,
    };

    g_assert(legal[feed->state] & 1u << state);
    g_debug("feed: %d -> %d", feed->state, state);
    feed->state = state;
}

static gboolean
error_is_final(const GError *error)
{
    return error && error->domain == GODWIT_ERROR &&
           (error->code == GODWIT_ERROR_NOT_FOUND || error->code == GODWIT_ERROR_UNAUTHORIZED ||
            error->code == GODWIT_ERROR_FORBIDDEN || error->code == GODWIT_ERROR_INVALID ||
            error->code == GODWIT_ERROR_UNSUPPORTED);
}

static void
feed_give_up(Feed *feed, const GError *cause)
{
    g_autoptr(GError) error = NULL;

    feed_set_state(feed, FEED_OVER);
    if (error_is_final(cause))
        error = g_error_copy(cause);
    else
        error = g_error_new(GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                            "lost the manager at %s and did not find it again within %d s (%s); is "
                            "godwit-manager running there?",
                            feed->cli->url, (int)(feed->patience_us / G_USEC_PER_SEC),
                            cause ? cause->message : "it ended the stream");
    feed->funcs->over(error, feed->user_data);
}

static void
health_told(GObject *source, GAsyncResult *result, gpointer data)
{
    Feed *feed = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) health = http_client_call_finish(feed->cli->client, result, &error);

    feed->pending--;
    if (feed->state != FEED_ASKING)
        return;
    if (health) {
        feed_open(feed);
        feed->funcs->back(feed->user_data);
        return;
    }
    feed_set_state(feed, FEED_LOST);
    if (error_is_final(error) || g_get_monotonic_time() - feed->lost_us > feed->patience_us)
        feed_give_up(feed, error);
}

static gboolean
feed_try(gpointer data)
{
    Feed *feed = data;
    g_autofree char *path = api_path("healthz", NULL);

    if (feed->state == FEED_LOST) {
        feed_set_state(feed, FEED_ASKING);
        feed->pending++;
        http_client_call_async(feed->cli->client, "GET", path, NULL, feed->cancellable, health_told,
                               feed);
        feed->delay_ms = MIN(feed->delay_ms * 2, DELAY_MAX_MS);
        feed->timer = g_timeout_add(feed->delay_ms, feed_try, feed);
        return G_SOURCE_REMOVE;
    }
    /* Still ASKING: look again later. */
    if (feed->state == FEED_ASKING)
        return G_SOURCE_CONTINUE;
    feed->timer = 0;
    return G_SOURCE_REMOVE;
}

static void
stream_closed(const GError *error, gpointer data)
{
    Feed *feed = data;
    gint64 now_us = g_get_monotonic_time();
    gboolean first = feed->lost_us == 0 || now_us - feed->opened_us > SETTLED_US;

    feed->pending--;
    if (feed->state != FEED_OPEN)
        return;
    if (first) {
        feed->lost_us = now_us;
        feed->delay_ms = DELAY_FIRST_MS;
    }
    if (error_is_final(error) || now_us - feed->lost_us > feed->patience_us) {
        feed_give_up(feed, error);
        return;
    }
    feed_set_state(feed, FEED_LOST);
    g_clear_handle_id(&feed->timer, g_source_remove);
    feed->timer = g_timeout_add(feed->delay_ms, feed_try, feed);
    feed->funcs->lost(error, feed->user_data);
}

static void
stream_event(const char *event, const char *id, const char *data, gpointer user_data)
{
    Feed *feed = user_data;

    if (feed->state != FEED_OPEN)
        return;
    feed->lost_us = 0;
    feed->funcs->event(event, data, feed->user_data);
}

static void
feed_open(Feed *feed)
{
    if (feed->state != FEED_OPEN)
        feed_set_state(feed, FEED_OPEN);
    feed->opened_us = g_get_monotonic_time();
    feed->pending++;
    http_client_stream(feed->cli->client, feed->path, SILENCE_S, stream_event, stream_closed, feed,
                       feed->cancellable);
}

static gint64
patience_us(void)
{
    const char *text = g_getenv("GODWIT_RECONNECT_S");
    gint64 seconds = text && *text ? g_ascii_strtoll(text, NULL, 10) : RECONNECT_DEFAULT_S;

    return CLAMP(seconds, 0, 86400) * G_USEC_PER_SEC;
}

Feed *
feed_new(Cli *cli, const char *path, const FeedFuncs *funcs, gpointer user_data)
{
    Feed *feed = g_new0(Feed, 1);

    g_assert(cli->client);
    feed->cli = cli;
    feed->path = g_strdup(path);
    feed->funcs = funcs;
    feed->user_data = user_data;
    feed->patience_us = patience_us();
    feed->cancellable = g_cancellable_new();
    feed->delay_ms = DELAY_FIRST_MS;
    feed->state = FEED_OPEN;
    feed_open(feed);
    return feed;
}

void
feed_free(Feed *feed)
{
    if (!feed)
        return;
    if (feed->state != FEED_OVER)
        feed_set_state(feed, FEED_OVER);
    g_clear_handle_id(&feed->timer, g_source_remove);
    g_cancellable_cancel(feed->cancellable);
    while (feed->pending > 0)
        g_main_context_iteration(NULL, TRUE);
    g_object_unref(feed->cancellable);
    g_free(feed->path);
    g_free(feed);
}
