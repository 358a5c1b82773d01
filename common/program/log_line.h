/* One line of the program's log as text, in the format that the settings name. No state, any
 * thread. */
#ifndef PS_LOG_LINE_H
#define PS_LOG_LINE_H

#include "common/program/log.h"

#define PS_LOG_NODE_MAX 64

/* Who logs. The texts outlive every line. */
struct ps_log_style {
    enum ps_log_format format;
    const char *service, *version; /* only PS_LOG_ECS prints these */
    const char *node;              /* NULL: not known yet */
};

/* Prints one JSON object and a newline into `text`, which has room for PS_LOG_LINE_MAX bytes;
 * returns the length. Members that do not fit are left out. `dropped`: lines lost before this one;
 * 0 is not printed. */
size_t ps_log_line(const struct ps_log_style *style, enum ps_log_level level, const char *event,
                   const struct ps_log_field *fields, uint64_t dropped, char *text);

#endif
