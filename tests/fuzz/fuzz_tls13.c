/*
 * fuzz_tls13.c - the records of a TLS 1.3 connection behind its handshake, in any order and any pieces.
 *
 * Links libnet.a and what it needs. The input is a list of what a peer does, who has the right keys: data,
 * padding, alerts, key updates and other messages, records that were changed on their way, bytes of its own
 * choice, and how much of all that is delivered at a time. Beside it goes a model that says what is to come
 * of it: which data, in order, and where they end. What we send is opened with the peer's keys, and must be
 * what TLS allows.
 */
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream_tls_int.h"

#define WIRE_MAX    (256u << 10)
#define RECORDS_MAX 4096
#define SENT_MAX    (64u << 10)
/* As in stream_tls13.c: records in a row without data. */
#define MAX_WITHOUT_DATA 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has become of the connection where a record ends. FORGED: it fails, unless a record is never whole. */
enum fate { OPEN, ENDED, FAILED, FORGED };

/* In the order of the wire: what is known when all before `end` has been delivered. */
struct mark {
    uint32_t end, n_data;
    enum fate fate;
};

static struct {
    const uint8_t *at, *end_of_input;
    const struct tls13_suite *suite;
    struct tls13_ciphers ciphers; /* of the peer */
    struct tls13_keys in, out;
    struct stream stream;
    int fd;    /* the peer's */
    int piece; /* what our reader takes at a time */

    uint8_t wire[WIRE_MAX];
    uint32_t wire_len, delivered;
    uint32_t last_at; /* of the last record */
    struct mark marks[RECORDS_MAX];
    int n_marks;
    int n_without_data;
    uint32_t n_data; /* on the wire */

    uint32_t n_read; /* of them */
    int end;         /* what the reader was told last; 1: there may be more */
    uint32_t n_sent, n_heard;
    bool has_alert;
} f;

static void check(bool ok, int line)
{
    if (ok)
        return;
    fprintf(stderr, "line %d: read %u of %u, end %d, delivered %u of %u, sent %u, heard %u: %s\n", line,
            f.n_read, f.n_data, f.end, f.delivered, f.wire_len, f.n_sent, f.n_heard, stream_tls_error());
    abort();
}
#define CHECK(ok) check(ok, __LINE__)

static uint8_t next_byte(void)
{
    return f.at < f.end_of_input ? *f.at++ : 0;
}

static uint32_t next_u16(void)
{
    uint32_t high = next_byte();
    return high << 8 | next_byte();
}

/* The n-th byte of all data, in either direction. */
static uint8_t pattern(uint32_t n)
{
    return (uint8_t)(n * 7 + n / 251);
}

/* ---- what the peer sends ---- */

static enum fate fate_now(void)
{
    return f.n_marks > 0 ? f.marks[f.n_marks - 1].fate : OPEN;
}

static void mark(enum fate fate)
{
    enum fate before = fate_now();

    f.marks[f.n_marks++] = (struct mark){f.wire_len, f.n_data, before != OPEN ? before : fate};
}

static enum fate fate_of(uint8_t type, const uint8_t *content, uint32_t len)
{
    if (type == TLS13_DATA && len > 0) {
        f.n_without_data = 0;
        return OPEN;
    }
    if (f.n_without_data++ == MAX_WITHOUT_DATA)
        return FAILED;
    if (type == TLS13_ALERT && len == 2)
        return content[1] == SSL3_AD_CLOSE_NOTIFY ? ENDED : content[1] == 90 ? OPEN : FAILED;
    if (type == TLS13_HANDSHAKE)
        return len == 5 && memcmp(content, "\x18\0\0\1", 4) == 0 && content[4] <= 1 ? OPEN : FAILED;
    return type == TLS13_DATA ? OPEN : FAILED;
}

/* A record by the peer's keys. Its content stands where it will be sealed. */
static void put_record(uint8_t type, uint32_t len, uint32_t padding)
{
    uint8_t *record = f.wire + f.wire_len, *content = record + TLS13_HEADER_BYTES;
    enum fate fate = FAILED;

    if (len + padding + 1 + 16 > TLS13_SEALED_BYTES) {
        mark(FORGED); /* its header tells */
        fate = FORGED;
    } else if (len <= TLS13_CONTENT_BYTES && type != 0) {
        fate = fate_of(type, content, len);
    }
    if (fate_now() == OPEN && fate == OPEN && type == TLS13_DATA)
        f.n_data += len;
    /* padding is content to tls13_seal(), behind the type */
    memset(content + len, 0, padding);
    if (padding > 0)
        content[len] = type;
    uint32_t n = tls13_seal(&f.ciphers, f.suite, &f.out, (enum tls13_type)(padding > 0 ? 0 : type), record,
                            len + padding);
    CHECK(n == len + padding + TLS13_EXTRA_BYTES);
    f.last_at = f.wire_len;
    f.wire_len += n;
    mark(fate);
    if (type == TLS13_HANDSHAKE && fate == OPEN)
        CHECK(tls13_keys_update(&f.out, f.suite));
}

static void put_data(uint32_t len, uint32_t padding)
{
    for (uint32_t i = 0; i < len; i++)
        f.wire[f.wire_len + TLS13_HEADER_BYTES + i] = pattern(f.n_data + i);
    put_record(TLS13_DATA, len, padding);
}

static void put_from_input(uint8_t type, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        f.wire[f.wire_len + TLS13_HEADER_BYTES + i] = next_byte();
    put_record(type, len, 0);
}

static void put_of_type(uint8_t type)
{
    if (type != TLS13_DATA)
        put_from_input(type, type != 0 ? next_byte() % 8 : 0);
}

static void put_raw(uint32_t len)
{
    if (len == 0)
        return;
    mark(FORGED);
    for (uint32_t i = 0; i < len; i++)
        f.wire[f.wire_len++] = next_byte();
    mark(FORGED);
}

/* A good record, and a bit of it changes, or there is less of it. Its mark is that of what is before it. */
static void put_changed(uint32_t bit, bool is_cut)
{
    uint32_t at = f.wire_len;

    mark(FORGED);
    put_data(20, 0);
    uint32_t len = f.wire_len - at;
    f.wire[at + bit / 8 % len] ^= (uint8_t)(1u << bit % 8);
    if (is_cut)
        f.wire_len = at + 1 + bit % (len - 1);
    f.marks[f.n_marks - 1].end = f.wire_len;
}

static void put_again(void)
{
    uint32_t len = f.wire_len - f.last_at;

    if (f.wire_len == 0 || len > 2000)
        return;
    mark(FORGED);
    memcpy(f.wire + f.wire_len, f.wire + f.last_at, len);
    f.wire_len += len;
    mark(FORGED);
}

/* ---- what is read ---- */

static int unread_bytes(void)
{
    int n = 0;
    (void)ioctl(f.stream.fd, FIONREAD, &n);
    return n;
}

/* As a session does it: while there is an event, or something that none comes for. */
static void read_all(void)
{
    static uint8_t buf[LOOP_READ_BUFFER_BYTES];

    while (f.end == 1 && (unread_bytes() > 0 || stream_has_unread(&f.stream))) {
        int n = stream_recv(&f.stream, buf, f.piece);
        CHECK(n != 0 && n <= f.piece);
        for (int i = 0; i < n; i++)
            CHECK(buf[i] == pattern(f.n_read + (uint32_t)i));
        if (n > 0)
            f.n_read += (uint32_t)n;
        else if (n != STREAM_AGAIN)
            f.end = n;
    }
    if (f.end != 1) /* for ever */
        CHECK(stream_recv(&f.stream, buf, f.piece) == f.end);
}

/* As far as has been delivered. */
static void compare(void)
{
    struct mark m = {0, 0, OPEN};

    for (int i = 0; i < f.n_marks && f.marks[i].end <= f.delivered; i++)
        m = f.marks[i];
    CHECK(f.n_read == m.n_data);
    switch (m.fate) {
    case OPEN: CHECK(f.end == 1); break;
    case ENDED: CHECK(f.end == STREAM_EOF); break;
    case FAILED: CHECK(f.end == STREAM_ERROR); break;
    case FORGED: CHECK(f.end == 1 || f.end == STREAM_ERROR); break;
    }
}

static void deliver(uint32_t len)
{
    if (len > f.wire_len - f.delivered)
        len = f.wire_len - f.delivered;
    if (f.end == 1) /* or nobody reads it */
        CHECK(write(f.fd, f.wire + f.delivered, len) == (ssize_t)len);
    f.delivered += len;
    read_all();
    compare();
}

/* ---- what we send ---- */

static void hear_record(uint8_t *record, uint32_t len)
{
    uint8_t type = 0, *content = record + TLS13_HEADER_BYTES;
    int n = tls13_open(&f.ciphers, f.suite, &f.in, record, len, &type);

    CHECK(n > 0 && n <= TLS13_CONTENT_BYTES && !f.has_alert);
    if (type == TLS13_DATA) {
        for (int i = 0; i < n; i++)
            CHECK(content[i] == pattern(f.n_heard + (uint32_t)i));
        f.n_heard += (uint32_t)n;
    } else if (type == TLS13_HANDSHAKE) {
        CHECK(n == 5 && memcmp(content, "\x18\0\0\1\0", 5) == 0);
        CHECK(tls13_keys_update(&f.in, f.suite));
    } else {
        CHECK(type == TLS13_ALERT && n == 2);
        CHECK((content[1] == SSL3_AD_CLOSE_NOTIFY) == (f.end != STREAM_ERROR));
        f.has_alert = true;
    }
}

/* Takes what we have sent with the peer's keys. */
static void hear(void)
{
    static uint8_t buf[2 * (TLS13_HEADER_BYTES + TLS13_SEALED_BYTES)];
    uint32_t have = 0;
    ssize_t n;

    for (;;) {
        n = recv(f.fd, buf + have, sizeof(buf) - have, MSG_DONTWAIT);
        if (n <= 0 && f.stream.output != NULL)
            (void)event_base_loop(f.stream.loop->base, EVLOOP_NONBLOCK);
        else if (n <= 0)
            break;
        have += n > 0 ? (uint32_t)n : 0;
        uint32_t at = 0;
        while (have - at >= TLS13_HEADER_BYTES) {
            uint32_t len = TLS13_HEADER_BYTES + ((uint32_t)buf[at + 3] << 8 | buf[at + 4]);
            CHECK(buf[at] == TLS13_DATA && len <= TLS13_HEADER_BYTES + TLS13_SEALED_BYTES);
            if (have - at < len)
                break;
            hear_record(buf + at, len);
            at += len;
        }
        memmove(buf, buf + at, have - at);
        have -= at;
    }
    CHECK(have == 0);
}

static void send_some(uint32_t len)
{
    static uint8_t buf[SENT_MAX];

    for (uint32_t i = 0; i < len; i++)
        buf[i] = pattern(f.n_sent + i);
    bool is_sent = stream_send(&f.stream, buf, len);
    CHECK(is_sent || len == 0 || f.end == STREAM_ERROR);
    if (is_sent)
        f.n_sent += len;
}

/* ---- the whole ---- */

static void nothing(struct stream *s)
{
    (void)s;
}

static void no_mail(struct loop *loop, struct mail *m)
{
    (void)loop, (void)m;
    abort();
}

static void begin(struct loop *loop)
{
    static const struct stream_ops no_ops = {nothing, nothing, NULL};
    static const uint32_t suites[] = {TLS1_3_CK_AES_128_GCM_SHA256, TLS1_3_CK_AES_256_GCM_SHA384,
                                      TLS1_3_CK_CHACHA20_POLY1305_SHA256};
    static const int pieces[] = {LOOP_READ_BUFFER_BYTES, 16384, 1000, 100, 3, 1};
    static const struct tls_secrets secrets = {.of_client = {1}, .of_server = {2}};
    int fds[2];
    uint8_t how = next_byte();

    f.suite = tls13_suite_find(suites[how % ARRAY_SIZE(suites)]);
    f.piece = pieces[how / ARRAY_SIZE(suites) % ARRAY_SIZE(pieces)];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    f.fd = fds[1];
    f.end = 1;
    stream_init(&f.stream, loop, fds[0], &no_ops);
    f.stream.tls = calloc(1, sizeof(*f.stream.tls));
    CHECK(f.stream.tls != NULL && tls13_begin(&f.stream, f.suite, &secrets, 0));
    /* keys of ours wear out soon */
    f.stream.tls->compact->max_records = 5;
    CHECK(tls13_keys_set(&f.in, f.suite, secrets.of_server) &&
          tls13_keys_set(&f.out, f.suite, secrets.of_client));
}

static void act(void)
{
    switch (next_byte() % 14) {
    case 0:
    case 1: put_data(next_byte(), 0); break;
    case 2: put_data(next_u16() % (TLS13_CONTENT_BYTES + 2), next_byte()); break;
    case 3: put_from_input(TLS13_HANDSHAKE, next_byte() % 8); break;
    case 4: put_from_input(TLS13_ALERT, next_byte() % 4); break;
    case 5:
        memcpy(f.wire + f.wire_len + TLS13_HEADER_BYTES, "\x18\0\0\1", 4);
        f.wire[f.wire_len + TLS13_HEADER_BYTES + 4] = next_byte() & 1;
        put_record(TLS13_HANDSHAKE, 5, 0);
        break;
    case 6: put_of_type(next_byte()); break;
    case 7: put_raw(next_byte() % 32); break;
    case 8: put_changed(next_u16(), false); break;
    case 9: put_changed(next_u16(), true); break;
    case 10: put_again(); break;
    case 11: deliver(next_byte()); break;
    case 12: deliver(next_u16()); break;
    case 13: send_some(next_u16() % 40000); break;
    }
    hear();
}

/* All that is left, and the peer goes; then we do. */
static void end(void)
{
    uint8_t byte;

    while (f.delivered < f.wire_len)
        deliver(50000);
    hear();
    shutdown(f.fd, SHUT_WR);
    if (f.end == 1)
        f.end = stream_recv(&f.stream, &byte, 1);
    CHECK(f.end == STREAM_EOF || f.end == STREAM_ERROR);
    stream_close(&f.stream);
    hear();
    CHECK(f.n_heard == f.n_sent && (f.has_alert || f.end == STREAM_ERROR));
    close(f.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop loop;

    if (loop.base == NULL && !loop_init(&loop, no_mail, NULL))
        abort();
    f.at = data;
    f.end_of_input = data + size;
    f.wire_len = f.delivered = f.last_at = f.n_data = f.n_read = f.n_sent = f.n_heard = 0;
    f.n_marks = f.n_without_data = 0;
    f.has_alert = false;
    memset(&f.in, 0, sizeof(f.in));
    memset(&f.out, 0, sizeof(f.out));
    begin(&loop);
    while (f.at < f.end_of_input && f.wire_len < WIRE_MAX - 2 * TLS13_SEALED_BYTES &&
           f.n_marks < RECORDS_MAX - 8)
        act();
    end();
    return 0;
}
