/* What the gateway's code allocates goes through here (the linker's --wrap): it is counted, and one
 * allocation can be made to fail. Chance and the log are wrapped too: the same script takes the
 * same way each time. */
#include "common/program/log.h"
#include "queue/log.h"
#include "tests/fuzz/pages/net.h"

#include <sanitizer/allocator_interface.h>
#include <sanitizer/asan_interface.h>
#include <uv.h>

static int64_t live;  /* what libraries have allocated is only subtracted: below 0 in the end */
static unsigned left; /* allocations until one fails; 0: none does */
static bool failed;

void memory_fail(unsigned nth)
{
    left = nth;
}

void memory_forget(void)
{
    left = 0;
    failed = false;
}

bool memory_has_failed(void)
{
    return failed;
}

int64_t memory_live(void)
{
    return live;
}

static bool is_refused(void)
{
    if (left == 0 || --left > 0)
        return false;
    failed = true;
    return true;
}

static void *count(void *block)
{
    live += block != NULL ? (int64_t)__sanitizer_get_allocated_size(block) : 0;
    return block;
}

/* The linker's names. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t number, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *block);
void __wrap_ps_log_write(enum ps_log_level level, const char *event,
                         const struct ps_log_field *fields);
void __wrap_randombytes_buf(void *to, size_t len);
uint32_t __wrap_randombytes_random(void);
uint32_t __wrap_randombytes_uniform(uint32_t end);
void __wrap_oq_log_view(const struct oq_log *log, struct oq_log_view *ret_view);
int __wrap_uv_thread_join(uv_thread_t *thread);

/* Each gateway begins with a few large blocks. The next one has them again: what the sanitizer's
 * allocator does with new ones costs more than a script. Between the two nobody may touch them. */
#define LARGE ((size_t)48 * 1024)
#define KEPT  32

static struct {
    void *block;
    size_t size;
    bool is_free;
} large[KEPT];

static bool begins;

void memory_begin(bool now)
{
    begins = now;
}

static bool is_large(const void *block)
{
    for (size_t i = 0; i < KEPT; i++)
        if (block != NULL && large[i].block == block)
            return true;
    return false;
}

static void *take_large(size_t alignment, size_t size, bool zeroed)
{
    for (size_t i = 0; i < KEPT; i++) {
        if (large[i].block == NULL) {
            large[i].block = __real_aligned_alloc(alignment, (size + 63) / 64 * 64);
            large[i].size = size;
        } else if (!large[i].is_free || large[i].size != size) {
            continue;
        }
        large[i].is_free = false;
        ASAN_UNPOISON_MEMORY_REGION(large[i].block, size);
        if (zeroed)
            memset(large[i].block, 0, size);
        live += (int64_t)size;
        return large[i].block;
    }
    return count(__real_aligned_alloc(alignment, (size + 63) / 64 * 64));
}

static bool give_large(const void *block)
{
    for (size_t i = 0; i < KEPT && large[i].block != NULL; i++) {
        if (large[i].block != block)
            continue;
        MUST(!large[i].is_free);
        large[i].is_free = true;
        live -= (int64_t)large[i].size;
        ASAN_POISON_MEMORY_REGION(large[i].block, large[i].size);
        return true;
    }
    return false;
}

void *__wrap_malloc(size_t size)
{
    return is_refused() ? NULL : count(__real_malloc(size));
}

void *__wrap_calloc(size_t number, size_t size)
{
    if (is_refused())
        return NULL;
    return begins && number == 1 && size >= LARGE ? take_large(64, size, true)
                                                  : count(__real_calloc(number, size));
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    if (is_refused())
        return NULL;
    return begins && size >= LARGE ? take_large(alignment, size, false)
                                   : count(__real_aligned_alloc(alignment, size));
}

void *__wrap_realloc(void *block, size_t size)
{
    size_t had = block != NULL ? __sanitizer_get_allocated_size(block) : 0;

    MUST(!is_large(block));
    if (is_refused())
        return NULL;
    live -= (int64_t)had;
    return count(__real_realloc(block, size));
}

void __wrap_free(void *block)
{
    if (block == NULL || give_large(block))
        return;
    live -= (int64_t)__sanitizer_get_allocated_size(block);
    __real_free(block);
}

void __wrap_ps_log_write(enum ps_log_level level, const char *event,
                         const struct ps_log_field *fields)
{
    (void)level;
    (void)event;
    (void)fields;
}

void __wrap_randombytes_buf(void *to, size_t len)
{
    memset(to, 0x5a, len);
}

uint32_t __wrap_randombytes_random(void)
{
    return 0x5a5a5a5a;
}

uint32_t __wrap_randombytes_uniform(uint32_t end)
{
    return end / 2;
}

/* Orders are not part of this: there is no log of them. */
void __wrap_oq_log_view(const struct oq_log *log, struct oq_log_view *ret_view)
{
    (void)log;
    *ret_view = (struct oq_log_view){0};
}

/* What the fuzzer would learn from comparisons it could not use: scripts change by records. It is
 * half of the time. */
void __wrap___sanitizer_cov_trace_cmp1(uint8_t a, uint8_t b);
void __wrap___sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b);
void __wrap___sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b);
void __wrap___sanitizer_cov_trace_const_cmp1(uint8_t a, uint8_t b);
void __wrap___sanitizer_cov_trace_const_cmp4(uint32_t a, uint32_t b);
void __wrap___sanitizer_cov_trace_const_cmp8(uint64_t a, uint64_t b);

void __wrap___sanitizer_cov_trace_cmp1(uint8_t a, uint8_t b)
{
    (void)a;
    (void)b;
}

void __wrap___sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b)
{
    (void)a;
    (void)b;
}

void __wrap___sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b)
{
    (void)a;
    (void)b;
}

void __wrap___sanitizer_cov_trace_const_cmp1(uint8_t a, uint8_t b)
{
    (void)a;
    (void)b;
}

void __wrap___sanitizer_cov_trace_const_cmp4(uint32_t a, uint32_t b)
{
    (void)a;
    (void)b;
}

void __wrap___sanitizer_cov_trace_const_cmp8(uint64_t a, uint64_t b)
{
    (void)a;
    (void)b;
}

/* The worker runs on this thread. */
int __wrap_uv_thread_join(uv_thread_t *thread)
{
    (void)thread;
    return 0;
}
