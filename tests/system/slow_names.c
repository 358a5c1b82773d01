/* Preloaded: a name server that is silent. Looking up a name takes 30 s and fails; addresses are
 * read as ever. */
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <unistd.h>

typedef int look_up_fn(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret_found);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_found)
{
    struct addrinfo numeric = hints != NULL ? *hints : (struct addrinfo){0};
    look_up_fn *real = (look_up_fn *)dlsym(RTLD_NEXT, "getaddrinfo");
    numeric.ai_flags |= AI_NUMERICHOST;
    int found = real(node, service, &numeric, ret_found);
    if (found != EAI_NONAME)
        return found;
    sleep(30);
    return EAI_AGAIN;
}
