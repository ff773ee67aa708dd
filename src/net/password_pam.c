/*
 * password_pam.c - is a password right? PAM says it.
 *
 * As PostgreSQL does it: pam_authenticate(), then pam_acct_mgmt(), for the name that the client says it is;
 * each question that is not echoed is answered with the password, other questions cannot be answered.
 * Whatever a module says but success is a refusal, since what it says of an error may depend on the password,
 * and guessing is to be counted. A module's pause after a failure is not kept (auth_failure_delay has that
 * place): it would keep the thread from the next login.
 *
 * Threads: those of password_check.c; a handle of libpam belongs to one thread.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <security/pam_appl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/secret.h"
#include "base/str.h"
#include "password_int.h"

/* What a conversation needs, and what modules have said in it. */
struct talk {
    const char *password;
    char said[128]; /* the last error; "" none */
};

static void free_answers(struct pam_response *answers, int n)
{
    for (int i = 0; i < n; i++)
        secret_free(answers[i].resp);
    free(answers);
}

static int answer(struct talk *t, const struct pam_message *question, char **text)
{
    switch (question->msg_style) {
    case PAM_PROMPT_ECHO_OFF: *text = strdup(t->password); return *text != NULL ? PAM_SUCCESS : PAM_BUF_ERR;
    case PAM_ERROR_MSG: (void)str_copy(t->said, question->msg, sizeof(t->said)); return PAM_SUCCESS;
    case PAM_TEXT_INFO: return PAM_SUCCESS;
    default:
        (void)str_copy(t->said, "a module asks what cannot be answered", sizeof(t->said));
        return PAM_CONV_ERR;
    }
}

/* pam_conv(3): answers are freed by whoever asked. */
static int converse(int n, const struct pam_message **questions, struct pam_response **out, void *arg)
{
    struct pam_response *answers;

    if (n <= 0 || n > PAM_MAX_NUM_MSG)
        return PAM_CONV_ERR;
    answers = calloc((size_t)n, sizeof(*answers));
    if (answers == NULL)
        return PAM_BUF_ERR;
    for (int i = 0; i < n; i++) {
        int result = answer(arg, questions[i], &answers[i].resp);
        if (result == PAM_SUCCESS)
            continue;
        free_answers(answers, n);
        return result;
    }
    *out = answers;
    return PAM_SUCCESS;
}

static void no_delay(int retval, unsigned delay_us, void *arg)
{
    (void)retval;
    (void)delay_us;
    (void)arg;
}

/* Where the client is: an address, with pam_use_hostname its name, if it has one. */
static void remote_host(const struct password_check *c, char *out, size_t size)
{
    struct sockaddr_storage sa = {.ss_family = (sa_family_t)c->family};
    socklen_t len = 0;

    if (c->family == AF_INET) {
        memcpy(&((struct sockaddr_in *)(void *)&sa)->sin_addr, c->addr, 4);
        len = sizeof(struct sockaddr_in);
    } else if (c->family == AF_INET6) {
        memcpy(&((struct sockaddr_in6 *)(void *)&sa)->sin6_addr, c->addr, 16);
        len = sizeof(struct sockaddr_in6);
    }
    int flags = c->pam_use_hostname ? 0 : NI_NUMERICHOST;
    if (len == 0 ||
        getnameinfo((struct sockaddr *)(void *)&sa, len, out, (socklen_t)size, NULL, 0, flags) != 0)
        (void)str_copy(out, "[local]", size);
}

/* The first step that fails; its name goes to *step. */
static int authenticate(struct password_check *c, pam_handle_t *pam, const char **step)
{
    char host[256];
    union {
        void (*call)(int, unsigned, void *);
        const void *item;
    } delay = {.call = no_delay};
    int result;

    remote_host(c, host, sizeof(host));
    *step = "pam_set_item";
    result = pam_set_item(pam, PAM_RHOST, host);
#ifdef PAM_FAIL_DELAY
    if (result == PAM_SUCCESS)
        result = pam_set_item(pam, PAM_FAIL_DELAY, delay.item);
#endif
    if (result != PAM_SUCCESS)
        return result;
    *step = "pam_authenticate";
    result = pam_authenticate(pam, PAM_DISALLOW_NULL_AUTHTOK);
    if (result != PAM_SUCCESS)
        return result;
    *step = "pam_acct_mgmt";
    return pam_acct_mgmt(pam, 0);
}

void check_by_pam(struct password_check *c)
{
    struct talk t = {.password = c->password};
    struct pam_conv conversation = {.conv = converse, .appdata_ptr = &t};
    pam_handle_t *pam = NULL;
    const char *step = NULL;

    int result = pam_start(c->pam_service, c->user, &conversation, &pam);
    if (result != PAM_SUCCESS) {
        check_say(c, CHECK_FAILED, "PAM service %s: pam_start: %s", c->pam_service,
                  pam_strerror(pam, result));
        return;
    }
    result = authenticate(c, pam, &step);
    if (result == PAM_SUCCESS)
        check_say(c, CHECK_RIGHT, "%s", "");
    else
        check_say(c, CHECK_WRONG, "PAM service %s: %s: %s%s%s%s", c->pam_service, step,
                  pam_strerror(pam, result), t.said[0] != '\0' ? " (" : "", t.said,
                  t.said[0] != '\0' ? ")" : "");
    (void)pam_end(pam, result);
}
