/* penstockctl: the operators' program. It knows the admin API and nothing of a gateway's insides.
 */
#include "gateway/ctl/ctl.h"

#include <curl/curl.h>
#include <locale.h>
#include <signal.h>

int main(int argc, char **argv)
{
    (void)setlocale(LC_CTYPE, ""); /* how wide characters are */
    (void)signal(SIGPIPE, SIG_IGN);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ctl_say(CTL_FAILED, "libcurl does not start");
    int exit = ctl_main(argc, argv);
    curl_global_cleanup();
    if (fflush(stdout) != 0 || ferror(stdout))
        return exit != CTL_OK ? exit : ctl_say(CTL_FAILED, "standard output cannot be written");
    return exit;
}
