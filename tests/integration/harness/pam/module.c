/*
 * module.c - a module of PAM whose users stand in a file: "name password what", one per line.
 *
 * what: ok, expired and newpassword (known by their account), delay (a long pause is asked for after a failure), error (says why),
 * echo (asks a question that is echoed), hang (until the file GO exists, or GO.name). Arguments: the file, and one to note
 * "service user host" of each call in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>

struct entry {
    char password[128], what[32];
};

/* Blanks in a password are written as _. */
static int find(const char *path, const char *user, struct entry *e)
{
    char name[128], line[512];
    int found = 0;
    FILE *file = fopen(path, "r");

    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL)
        found = sscanf(line, "%127s %127s %31s", name, e->password, e->what) == 3 && strcmp(name, user) == 0;
    if (file != NULL)
        fclose(file);
    for (char *c = e->password; found && *c != '\0'; c++)
        if (*c == '_')
            *c = ' ';
    return found;
}

static void note(pam_handle_t *pam, const char *path, const char *user)
{
    const void *service = NULL, *host = NULL;
    FILE *file = fopen(path, "a");

    pam_get_item(pam, PAM_SERVICE, &service);
    pam_get_item(pam, PAM_RHOST, &host);
    if (file == NULL)
        return;
    fprintf(file, "%s %s %s\n", (const char *)service, user, (const char *)host);
    fclose(file);
}

static void hang(const char *users, const char *user)
{
    char go[512], go_alone[512];

    snprintf(go, sizeof(go), "%s.go", users);
    snprintf(go_alone, sizeof(go_alone), "%s.go.%s", users, user);
    while (access(go, F_OK) != 0 && access(go_alone, F_OK) != 0)
        usleep(10000);
}

int pam_sm_authenticate(pam_handle_t *pam, int flags, int argc, const char **argv)
{
    const char *user = NULL, *password = NULL;
    struct entry e;
    int is_known;

    (void)flags;
    if (argc < 2 || pam_get_user(pam, &user, NULL) != PAM_SUCCESS)
        return PAM_SERVICE_ERR;
    note(pam, argv[1], user);
    is_known = find(argv[0], user, &e);
    if (is_known && strcmp(e.what, "hang") == 0)
        hang(argv[0], user);
    if (is_known && strcmp(e.what, "echo") == 0 &&
        pam_prompt(pam, PAM_PROMPT_ECHO_ON, NULL, "%s", "mother's maiden name? ") != PAM_SUCCESS)
        return PAM_CONV_ERR;
    if (pam_get_authtok(pam, PAM_AUTHTOK, &password, NULL) != PAM_SUCCESS)
        return PAM_AUTHTOK_ERR;
    if (!is_known)
        return PAM_USER_UNKNOWN;
    if (strcmp(password, e.password) == 0)
        return PAM_SUCCESS;
    if (strcmp(e.what, "delay") == 0)
        pam_fail_delay(pam, 3600 * 1000000u);
    if (strcmp(e.what, "error") == 0)
        pam_error(pam, "the moon is wrong");
    return PAM_AUTH_ERR;
}

int pam_sm_setcred(pam_handle_t *pam, int flags, int argc, const char **argv)
{
    (void)pam;
    (void)flags;
    (void)argc;
    (void)argv;
    return PAM_SUCCESS;
}

int pam_sm_acct_mgmt(pam_handle_t *pam, int flags, int argc, const char **argv)
{
    const char *user = NULL;
    struct entry e;

    (void)flags;
    if (argc < 2 || pam_get_user(pam, &user, NULL) != PAM_SUCCESS)
        return PAM_SERVICE_ERR;
    if (!find(argv[0], user, &e))
        return PAM_USER_UNKNOWN;
    if (strcmp(e.what, "expired") == 0)
        return PAM_ACCT_EXPIRED;
    return strcmp(e.what, "newpassword") == 0 ? PAM_NEW_AUTHTOK_REQD : PAM_SUCCESS;
}
