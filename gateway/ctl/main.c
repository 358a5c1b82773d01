/* penstockctl: the operators' program. It knows the admin API, and nothing of a gateway's insides.
 */
#include "common/call/call.h"
#include "gateway/ctl/print.h"

#include <locale.h>
#include <signal.h>

int main(int argc, char **argv)
{
    (void)setlocale(LC_CTYPE, ""); /* for the width of characters */
    (void)signal(SIGPIPE, SIG_IGN);
    if (ps_calls_start() < 0)
        return ctl_say(CTL_FAILED, "libcurl cannot be initialised");
    int exit = ctl_main(argc, argv);
    ps_calls_stop();
    return exit != CTL_OK ? exit : ctl_flush();
}
