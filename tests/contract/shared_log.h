/* An order log of several partitions in memory, shared by several gateways of one process and one
 * thread, each with a view of its own that reads on only when it is told: so that a test decides
 * who knows what when. */
#ifndef SHARED_LOG_H
#define SHARED_LOG_H

#include "queue/log_backend.h"

#define SHARED_PARTITIONS 3
#define SHARED_LOG_NAME   "the topic of this test"

struct shared_topic;
struct shared_topic *shared_topic_new(void);
void shared_topic_free(struct shared_topic *topic);
/* Records of that type: in one partition, or in all (UINT32_MAX). */
size_t shared_topic_count(const struct shared_topic *topic, uint32_t partition, enum oq_type type);
/* As a gateway that is none of the test's. */
void shared_topic_put(struct shared_topic *topic, uint32_t partition, const struct oq_event *event);

/* A view of it. Closing and freeing is the log's own. */
struct oq_log *shared_log_new(struct shared_topic *topic, const struct oq_log_callbacks *callbacks);
/* Reads all that is there, tells outcomes, runs calls; unless it is held. */
void shared_log_read(struct oq_log *log);
/* Neither reads nor runs calls; `away` also takes nothing. */
void shared_log_hold(struct oq_log *log, bool held, bool away);

#endif
