/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The codec of the protocol in protocol.h: pure functions on (buffer, length), without I/O, globals
 * or allocation. A const table has for each type the limits of its payload and whether it belongs
 * to a lane; header checks come from it alone, and are made as soon as its sixteen bytes are there,
 * so that a bad length is refused before anything of its payload is awaited. A frame is decoded
 * only when it is whole: the receiver's buffer always has room for the largest.
 */
#include "flyway/protocol.h"

#include <errno.h>
#include <string.h>

typedef struct {
    guint8 type;
    gboolean on_lane, numbered;
    guint32 min, max; /* payload, bytes */
    const char *name;
} FrameRule;

static const FrameRule rules[] = {
    { FRAME_HELLO, FALSE, FALSE, FRAME_HELLO_SIZE, FRAME_HELLO_SIZE, "HELLO" },
    { FRAME_HELLO_REPLY, FALSE, FALSE, FRAME_REPLY_SIZE, FRAME_REPLY_SIZE + FRAME_TEXT_MAX,
      "HELLO_REPLY" },
    { FRAME_LANE_OPEN, TRUE, TRUE, 8, 8, "LANE_OPEN" },
    { FRAME_LANE_ACCEPT, TRUE, TRUE, 4, 4, "LANE_ACCEPT" },
    { FRAME_LANE_REFUSE, TRUE, TRUE, 0, FRAME_REFUSE_TEXT_MAX, "LANE_REFUSE" },
    { FRAME_DATA, TRUE, TRUE, 1, FRAME_DATA_MAX, "DATA" },
    { FRAME_BATCH, TRUE, TRUE, 1, FRAME_BATCH_MAX, "BATCH" },
    { FRAME_MISSING, TRUE, TRUE, 8, 8, "MISSING" },
    { FRAME_AGAIN, TRUE, TRUE, 5, 4 + FRAME_BATCH_MAX, "AGAIN" },
    { FRAME_CREDIT, TRUE, TRUE, 4, 4, "CREDIT" },
    { FRAME_EOF, TRUE, TRUE, 0, 0, "EOF" },
    { FRAME_CLOSE, TRUE, TRUE, 0, 0, "CLOSE" },
    { FRAME_SETS, FALSE, TRUE, FRAME_SETS_SIZE, FRAME_SETS_SIZE + FRAME_SETS_MAX *FRAME_SET_SIZE,
      "SETS" },
    { FRAME_SETS_REPLY, FALSE, TRUE, FRAME_SETS_SIZE,
      FRAME_SETS_SIZE + FRAME_SETS_MAX *FRAME_SET_SIZE, "SETS_REPLY" },
    { FRAME_SETS_END, FALSE, TRUE, 4, 4, "SETS_END" },
    { FRAME_PROVED, FALSE, TRUE, 8, 8, "PROVED" },
    { FRAME_REFUSED, FALSE, TRUE, 0, 0, "REFUSED" },
    { FRAME_STOPPED, FALSE, TRUE, 0, 0, "STOPPED" },
    { FRAME_PING, FALSE, FALSE, 8, 8, "PING" },
    { FRAME_PONG, FALSE, FALSE, 16, 16, "PONG" },
    { FRAME_ACK, FALSE, FALSE, 8, 8, "ACK" },
    { FRAME_ABORT, FALSE, FALSE, 0, FRAME_REFUSE_TEXT_MAX, "ABORT" },
    { FRAME_BYE, FALSE, TRUE, 0, 0, "BYE" },
};

static const FrameRule *
rule_of(guint type)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (rules[i].type == type)
            return &rules[i];
    }
    return NULL;
}

/* ---- integers -------------------------------------------------------------------------------- */

static guint16
get16(const guint8 *in)
{
    return (guint16)(in[0] << 8 | in[1]);
}

static guint32
get32(const guint8 *in)
{
    return (guint32)in[0] << 24 | (guint32)in[1] << 16 | (guint32)in[2] << 8 | in[3];
}

static guint64
get64(const guint8 *in)
{
    return (guint64)get32(in) << 32 | get32(in + 4);
}

static void
put16(guint8 *out, guint16 value)
{
    out[0] = (guint8)(value >> 8);
    out[1] = (guint8)value;
}

static void
put32(guint8 *out, guint32 value)
{
    put16(out, (guint16)(value >> 16));
    put16(out + 2, (guint16)value);
}

static void
put64(guint8 *out, guint64 value)
{
    put32(out, (guint32)(value >> 32));
    put32(out + 4, (guint32)value);
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* Texts end up in logs and on terminals: no control characters. */
static gboolean
get_text(const guint8 *in, gsize length, char *out)
{
    if (!g_utf8_validate_len((const char *)in, length, NULL))
        return FALSE;
    memcpy(out, in, length);
    out[length] = '\0';
    for (const char *at = out; *at != '\0'; at = g_utf8_next_char(at)) {
        if (g_unichar_iscntrl(g_utf8_get_char(at)))
            return FALSE;
    }
    return TRUE;
}

static const char *
decode_hello(const guint8 *in, FrameHello *hello)
{
    if (in[4] > FLYWAY_DESTINATION)
        return "HELLO names no side";
    if (in[5] >= FLYWAY_LINKS || in[6] > 1 || in[7] != 0)
        return "HELLO names no connection";
    hello->major = get16(in);
    hello->minor = get16(in + 2);
    hello->side = in[4];
    hello->slot = in[5];
    hello->further = in[6];
    hello->abilities = get64(in + 8);
    memcpy(hello->id, in + 16, 16);
    memcpy(hello->vm, in + 32, 16);
    memcpy(hello->self, in + 48, 16);
    memcpy(hello->peer, in + 64, 16);
    memcpy(hello->ticket, in + 80, 32);
    return NULL;
}

static const char *
decode_reply(const guint8 *in, gsize length, FrameReply *reply)
{
    guint16 code = get16(in + 4);

    if (code > FLYWAY_BUSY || get16(in + 6) != 0)
        return "HELLO_REPLY has an unknown code";
    reply->major = get16(in);
    reply->minor = get16(in + 2);
    reply->code = code;
    reply->abilities = get64(in + 8);
    if (!get_text(in + FRAME_REPLY_SIZE, length - FRAME_REPLY_SIZE, reply->text))
        return "HELLO_REPLY has a malformed text";
    return NULL;
}

static const char *
decode_open(const guint8 *in, Frame *frame)
{
    if (in[0] < LANE_RPC || in[0] > LANE_NBD || in[1] != 0 || get16(in + 2) != 0)
        return "LANE_OPEN has an unknown kind";
    frame->open.kind = in[0];
    frame->open.window = get32(in + 4);
    if (frame->open.window == 0 || frame->open.window > FRAME_WINDOW_MAX)
        return "LANE_OPEN has a window out of range";
    return NULL;
}

static const char *
decode_amount(const guint8 *in, guint32 *amount)
{
    *amount = get32(in);
    if (*amount == 0 || *amount > FRAME_WINDOW_MAX)
        return "a window or credit is out of range";
    return NULL;
}

static const char *
decode_sets(const guint8 *in, gsize length, FrameSets *sets)
{
    if (in[0] > 1 || in[1] > FRAME_SETS_MAX || get16(in + 2) != 0 ||
        length != FRAME_SETS_SIZE + (gsize)in[1] * FRAME_SET_SIZE)
        return "a malformed list of sets";
    sets->keeps = in[0];
    sets->n = in[1];
    memcpy(sets->check, in + 4, sizeof sets->check);
    in += FRAME_SETS_SIZE;
    for (guint i = 0; i < sets->n; i++, in += FRAME_SET_SIZE) {
        memcpy(sets->sets[i].id, in, 16);
        sets->sets[i].pages = get32(in + 16);
        memcpy(sets->sets[i].digest, in + 20, 32);
    }
    return NULL;
}

static const char *
decode_payload(const guint8 *in, gsize length, Frame *frame)
{
    switch (frame->type) {
    case FRAME_HELLO:
        return decode_hello(in, &frame->hello);
    case FRAME_HELLO_REPLY:
        return decode_reply(in, length, &frame->reply);
    case FRAME_LANE_OPEN:
        return decode_open(in, frame);
    case FRAME_LANE_ACCEPT:
        return decode_amount(in, &frame->window);
    case FRAME_LANE_REFUSE:
    case FRAME_ABORT:
        return get_text(in, length, frame->text) ? NULL : "a malformed text";
    case FRAME_DATA:
    case FRAME_BATCH:
        frame->data.bytes = in;
        frame->data.length = length;
        return NULL;
    case FRAME_AGAIN:
        frame->data.batch = get32(in);
        frame->data.bytes = in + 4;
        frame->data.length = length - 4;
        return NULL;
    case FRAME_MISSING:
        frame->missing.batch = get32(in);
        frame->missing.set = get32(in + 4);
        return NULL;
    case FRAME_SETS:
    case FRAME_SETS_REPLY:
        return decode_sets(in, length, &frame->sets);
    case FRAME_SETS_END:
        frame->ordinal = get32(in);
        return NULL;
    case FRAME_CREDIT:
        return decode_amount(in, &frame->credit);
    case FRAME_ACK:
        frame->below = get64(in);
        return frame->below > 0 ? NULL : "ACK of nothing";
    case FRAME_PONG:
        frame->clock.answered_us = get64(in + 8);
        G_GNUC_FALLTHROUGH;
    case FRAME_PROVED:
    case FRAME_PING:
        frame->clock.sent_us = get64(in);
        return NULL;
    case FRAME_EOF:
    case FRAME_CLOSE:
    case FRAME_REFUSED:
    case FRAME_STOPPED:
    case FRAME_BYE:
        return NULL;
    }
    g_assert_not_reached();
}

static const char *
check_header(const guint8 *in, const FrameRule *rule)
{
    guint32 payload = get32(in + 4);

    if (rule == NULL)
        return "unknown frame type";
    if (get16(in + 2) != 0)
        return "unknown frame flags";
    if (rule->on_lane ? in[1] < 1 || in[1] > FLYWAY_LANES : in[1] != 0)
        return "lane number out of range";
    if ((get64(in + 8) != 0) != rule->numbered)
        return "frame number where none belongs, or none where one does";
    if (payload < rule->min || payload > rule->max)
        return "frame length out of range";
    return NULL;
}

int
frame_decode(const guint8 *in, gsize length, Frame *frame, gsize *used, const char **why)
{
    gsize payload;

    if (length < FRAME_HEADER_SIZE)
        return -EAGAIN;
    *why = check_header(in, rule_of(in[0]));
    if (*why != NULL)
        return -EPROTO;
    payload = get32(in + 4);
    if (length - FRAME_HEADER_SIZE < payload)
        return -EAGAIN;
    frame->type = in[0];
    frame->lane = in[1];
    frame->number = get64(in + 8);
    *why = decode_payload(in + FRAME_HEADER_SIZE, payload, frame);
    if (*why != NULL)
        return -EPROTO;
    *used = FRAME_HEADER_SIZE + payload;
    return 0;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static void
encode_hello(const FrameHello *hello, guint8 *out)
{
    put16(out, hello->major);
    put16(out + 2, hello->minor);
    put32(out + 4,
          (guint32)hello->side << 24 | (guint32)hello->slot << 16 | (hello->further ? 1u << 8 : 0));
    put64(out + 8, hello->abilities);
    memcpy(out + 16, hello->id, 16);
    memcpy(out + 32, hello->vm, 16);
    memcpy(out + 48, hello->self, 16);
    memcpy(out + 64, hello->peer, 16);
    memcpy(out + 80, hello->ticket, 32);
}

static void
encode_reply(const FrameReply *reply, guint8 *out, gsize text_length)
{
    put16(out, reply->major);
    put16(out + 2, reply->minor);
    put16(out + 4, (guint16)reply->code);
    put16(out + 6, 0);
    put64(out + 8, reply->abilities);
    memcpy(out + FRAME_REPLY_SIZE, reply->text, text_length);
}

static void
encode_sets(const FrameSets *sets, guint8 *out)
{
    out[0] = sets->keeps ? 1 : 0;
    out[1] = sets->n;
    put16(out + 2, 0);
    memcpy(out + 4, sets->check, sizeof sets->check);
    out += FRAME_SETS_SIZE;
    for (guint i = 0; i < sets->n; i++, out += FRAME_SET_SIZE) {
        memcpy(out, sets->sets[i].id, 16);
        put32(out + 16, sets->sets[i].pages);
        memcpy(out + 20, sets->sets[i].digest, 32);
    }
}

/* Length of the text's longest valid start of at most max bytes. */
static gsize
text_fitting(const char *text, gsize max)
{
    const char *end = text;

    g_utf8_validate(text, (gssize)strnlen(text, max), &end);
    return (gsize)(end - text);
}

static gsize
payload_size(const Frame *frame)
{
    switch (frame->type) {
    case FRAME_HELLO_REPLY:
        return FRAME_REPLY_SIZE + text_fitting(frame->reply.text, FRAME_TEXT_MAX);
    case FRAME_LANE_REFUSE:
    case FRAME_ABORT:
        return text_fitting(frame->text, FRAME_REFUSE_TEXT_MAX);
    case FRAME_DATA:
    case FRAME_BATCH:
        g_assert(frame->data.length >= 1 && frame->data.length <= rule_of(frame->type)->max);
        return frame->data.length;
    case FRAME_AGAIN:
        g_assert(frame->data.length >= 1 && frame->data.length <= FRAME_BATCH_MAX);
        return 4 + frame->data.length;
    case FRAME_SETS:
    case FRAME_SETS_REPLY:
        g_assert(frame->sets.n <= FRAME_SETS_MAX);
        return FRAME_SETS_SIZE + (gsize)frame->sets.n * FRAME_SET_SIZE;
    default:
        return rule_of(frame->type)->max;
    }
}

static void
encode_payload(const Frame *frame, guint8 *out, gsize size)
{
    switch (frame->type) {
    case FRAME_HELLO:
        encode_hello(&frame->hello, out);
        break;
    case FRAME_HELLO_REPLY:
        encode_reply(&frame->reply, out, size - FRAME_REPLY_SIZE);
        break;
    case FRAME_LANE_OPEN:
        put32(out, (guint32)frame->open.kind << 24);
        put32(out + 4, frame->open.window);
        break;
    case FRAME_LANE_ACCEPT:
        put32(out, frame->window);
        break;
    case FRAME_LANE_REFUSE:
    case FRAME_ABORT:
        memcpy(out, frame->text, size);
        break;
    case FRAME_DATA:
    case FRAME_BATCH:
        if (frame->data.bytes != out)
            memcpy(out, frame->data.bytes, size);
        break;
    case FRAME_AGAIN:
        put32(out, frame->data.batch);
        memcpy(out + 4, frame->data.bytes, size - 4);
        break;
    case FRAME_MISSING:
        put32(out, frame->missing.batch);
        put32(out + 4, frame->missing.set);
        break;
    case FRAME_SETS:
    case FRAME_SETS_REPLY:
        encode_sets(&frame->sets, out);
        break;
    case FRAME_SETS_END:
        put32(out, frame->ordinal);
        break;
    case FRAME_CREDIT:
        put32(out, frame->credit);
        break;
    case FRAME_ACK:
        put64(out, frame->below);
        break;
    case FRAME_PONG:
        put64(out + 8, frame->clock.answered_us);
        G_GNUC_FALLTHROUGH;
    case FRAME_PROVED:
    case FRAME_PING:
        put64(out, frame->clock.sent_us);
        break;
    case FRAME_EOF:
    case FRAME_CLOSE:
    case FRAME_REFUSED:
    case FRAME_STOPPED:
    case FRAME_BYE:
        break;
    }
}

gsize
frame_encode(const Frame *frame, guint8 *out, gsize room)
{
    const FrameRule *rule = rule_of(frame->type);
    gsize size;

    g_assert(rule != NULL);
    g_assert((frame->number != 0) == rule->numbered);
    g_assert(rule->on_lane ? frame->lane >= 1 && frame->lane <= FLYWAY_LANES : frame->lane == 0);
    size = payload_size(frame);
    if (room < FRAME_HEADER_SIZE + size)
        return 0;
    out[0] = (guint8)frame->type;
    out[1] = frame->lane;
    put16(out + 2, 0);
    put32(out + 4, (guint32)size);
    put64(out + 8, frame->number);
    encode_payload(frame, out + FRAME_HEADER_SIZE, size);
    return FRAME_HEADER_SIZE + size;
}

/* ---- words ----------------------------------------------------------------------------------- */

gboolean
frame_is_numbered(FrameType type)
{
    const FrameRule *rule = rule_of(type);

    return rule != NULL && rule->numbered;
}

const char *
frame_name(guint type)
{
    const FrameRule *rule = rule_of(type);

    return rule != NULL ? rule->name : "?";
}

GodwitError
flyway_code_error(FlywayCode code)
{
    switch (code) {
    case FLYWAY_BAD_VERSION:
        return GODWIT_ERROR_UNSUPPORTED;
    case FLYWAY_BAD_TICKET:
        return GODWIT_ERROR_UNAUTHORIZED;
    case FLYWAY_EXPIRED:
        return GODWIT_ERROR_EXPIRED;
    case FLYWAY_WRONG:
        return GODWIT_ERROR_FORBIDDEN;
    case FLYWAY_BUSY:
        return GODWIT_ERROR_CONFLICT;
    case FLYWAY_OK:
        break;
    }
    return GODWIT_ERROR_INTERNAL;
}

gboolean
flyway_uuid_parse(const char *text, guint8 out[16])
{
    gsize at = 0;

    if (text == NULL || !g_uuid_string_is_valid(text))
        return FALSE;
    for (const char *p = text; *p != '\0';) {
        if (*p == '-') {
            p++;
            continue;
        }
        out[at++] = (guint8)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
        p += 2;
    }
    return TRUE;
}

void
flyway_uuid_format(const guint8 in[16], char out[37])
{
    static const char digits[] = "0123456789abcdef";
    char *to = out;

    for (gsize i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = digits[in[i] >> 4];
        *to++ = digits[in[i] & 15];
    }
    *to = '\0';
}
