/* See doc_store.h. */
#include "tests/unit/doc_store.h"

#define MAIL 7

struct temp_dir temp;
struct ps_clock_manual clock_;
uv_loop_t loop;
struct cfg_writer_settings settings;
struct cfg_store *store;

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    (void)ctx;
    assert_int_equal(mail->kind, MAIL);
    cfg_store_mail(store, mail);
}

void make_files(void)
{
    temp = temp_dir_make();
    ps_clock_manual_init(&clock_, 1, T0);
    assert_ok(uv_loop_init(&loop));
    settings = (struct cfg_writer_settings){.path = temp_file(&temp, "control.db"),
                                            .audit_path = temp_file(&temp, "audit.log"),
                                            .mail_kind = MAIL,
                                            .clock = &clock_.clock};
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, NULL, &settings.mailbox));
}

void close_store(void)
{
    cfg_store_close(store);
    cfg_store_free(store);
    store = NULL;
}

int drop(void **state)
{
    (void)state;
    close_store();
    ps_mailbox_close(settings.mailbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_ok(uv_loop_close(&loop));
    temp_dir_remove(&temp);
    return 0;
}

void settle(void)
{
    while (!cfg_store_is_idle(store)) {
        if (cfg_store_is_publishing(store))
            cfg_store_acknowledged(store);
        else
            uv_run(&loop, UV_RUN_ONCE);
    }
}
