/* Any bytes as a record of the order log: what can be read can be written, and is read as the same.
 */
#include "fuzz.h"
#include "queue/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static char memory[2][OQ_EVENT_LONG_MAX];
    struct oq_event event, again;
    struct ps_buf text[2];
    void *owner = NULL, *other = NULL;

    if (oq_event_decode((const char *)bytes, size, &event, &owner, NULL) < 0)
        return 0;
    ps_buf_init(&text[0], memory[0], sizeof memory[0]);
    ps_buf_init(&text[1], memory[1], sizeof memory[1]);
    MUST(oq_event_encode(&event, &text[0]) == 0);
    MUST(oq_event_decode(text[0].at, text[0].len, &again, &other, NULL) == 0);
    MUST(oq_event_encode(&again, &text[1]) == 0);
    MUST(text[0].len == text[1].len && memcmp(text[0].at, text[1].at, text[0].len) == 0);
    oq_event_release(owner);
    oq_event_release(other);
    return 0;
}
