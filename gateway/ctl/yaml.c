/* A first pass over the events bounds the nesting: libyaml's work per token grows with it, so a
 * megabyte of brackets would take minutes. It bounds the anchors, too: libyaml compares each anchor
 * and each alias with all of them. In the second pass libyaml builds a graph of nodes, in
 * which an alias is the node that it refers to. This file converts the graph to a tree and counts
 * each node as often as it is used, so that a document of a hundred bytes cannot use up the memory.
 */
#include "gateway/ctl/yaml.h"

#include <yaml.h>

#include <string.h>

struct reading {
    yaml_document_t *document;
    struct ps_fault *fault;
    size_t nodes;
    int depth, err;
};

/* Lines count from 1. Returns NULL, so that a reader can say `return refuse(…)`. */
static json_t *refuse(struct reading *reading, const yaml_node_t *node, const char *why)
{
    if (reading->err == 0)
        reading->err = ps_fault(reading->fault, PS_E_INVALID, "", "line %zu: %s",
                                node->start_mark.line + 1, why);
    return NULL;
}

static json_t *no_memory(struct reading *reading)
{
    reading->err = reading->err == 0 ? PS_E_NOMEM : reading->err;
    return NULL;
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

static json_t *read_scalar(struct reading *reading, const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    size_t len = node->data.scalar.length;
    json_t *json = NULL;

    if (memchr(text, '\0', len) != NULL)
        return refuse(reading, node, "a string contains a NUL");
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        if (len == 0 || is_word(text, len, "~") || is_word(text, len, "null"))
            return json_null();
        if (is_word(text, len, "true") || is_word(text, len, "false"))
            return json_boolean(text[0] == 't');
        bool may_be_number = text[0] == '-' || (text[0] >= '0' && text[0] <= '9');
        if (may_be_number && ps_json_parse(text, len, &json, NULL) == 0)
            return json;
    }
    json = json_stringn(text, len);
    return json != NULL ? json : no_memory(reading);
}

static json_t *read_node(struct reading *reading, int index);

static json_t *read_sequence(struct reading *reading, const yaml_node_t *node)
{
    json_t *json = json_array();

    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         reading->err == 0 && item < node->data.sequence.items.top; item++) {
        json_t *element = read_node(reading, *item);
        if (element != NULL && json_array_append_new(json, element) != 0)
            (void)no_memory(reading);
    }
    return json;
}

static json_t *read_mapping(struct reading *reading, const yaml_node_t *node)
{
    json_t *json = json_object();

    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         reading->err == 0 && pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(reading->document, pair->key);
        const char *name = key->type == YAML_SCALAR_NODE ? (char *)key->data.scalar.value : NULL;
        if (name == NULL || strlen(name) != key->data.scalar.length)
            return refuse(reading, key, "the name of a member is not a string"), json;
        if (json_object_get(json, name) != NULL)
            return refuse(reading, key, "a member appears twice"), json;
        json_t *value = read_node(reading, pair->value);
        if (value != NULL && json_object_set_new(json, name, value) != 0)
            (void)no_memory(reading);
    }
    return json;
}

/* The tag that libyaml gives to a node without one. */
static bool has_tag(const yaml_node_t *node)
{
    const char *usual = node->type == YAML_SCALAR_NODE     ? YAML_STR_TAG
                        : node->type == YAML_SEQUENCE_NODE ? YAML_SEQ_TAG
                                                           : YAML_MAP_TAG;
    return node->tag != NULL && strcmp((const char *)node->tag, usual) != 0;
}

static json_t *read_node(struct reading *reading, int index)
{
    const yaml_node_t *node = yaml_document_get_node(reading->document, index);
    json_t *json = NULL;

    if (++reading->nodes > CTL_YAML_NODES)
        return refuse(reading, node, "too many nodes (aliases count each time)");
    if (reading->depth == CTL_YAML_DEPTH)
        return refuse(reading, node, "too many levels");
    if (has_tag(node))
        return refuse(reading, node, "tags are not supported");
    reading->depth++;
    if (node->type == YAML_SCALAR_NODE)
        json = read_scalar(reading, node);
    else if (node->type == YAML_SEQUENCE_NODE)
        json = read_sequence(reading, node);
    else
        json = read_mapping(reading, node);
    reading->depth--;
    if (json == NULL && reading->err == 0)
        (void)no_memory(reading);
    return json;
}

static int parser_fault(const yaml_parser_t *parser, struct ps_fault *fault)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return PS_E_NOMEM;
    return ps_fault(fault, PS_E_INVALID, "", "line %zu: %s", parser->problem_mark.line + 1,
                    parser->problem != NULL ? parser->problem : "not valid YAML");
}

static bool has_anchor(const yaml_event_t *event)
{
    return (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor != NULL) ||
           (event->type == YAML_SEQUENCE_START_EVENT &&
            event->data.sequence_start.anchor != NULL) ||
           (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor != NULL);
}

static int check_event(const yaml_event_t *event, int *depth, int *documents, int *anchors,
                       struct ps_fault *fault)
{
    *anchors += has_anchor(event);
    if (*anchors > CTL_YAML_ANCHORS)
        return ps_fault(fault, PS_E_INVALID, "", "line %zu: more than %d anchors",
                        event->start_mark.line + 1, CTL_YAML_ANCHORS);
    if (event->type == YAML_DOCUMENT_START_EVENT && ++*documents > 1)
        return ps_fault(fault, PS_E_INVALID, "", "a second document; only one per file is allowed");
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT)
        ++*depth;
    if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT)
        --*depth;
    return *depth <= CTL_YAML_DEPTH ? 0
                                    : ps_fault(fault, PS_E_INVALID, "", "line %zu: too many levels",
                                               event->start_mark.line + 1);
}

/* Is it a single YAML document without too many levels? */
static int check(const char *text, size_t len, struct ps_fault *fault)
{
    int depth = 0, documents = 0, anchors = 0, err = 0;
    yaml_parser_t parser;
    yaml_event_t event;
    bool is_end = false;

    if (!yaml_parser_initialize(&parser))
        return PS_E_NOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    while (err == 0 && !is_end) {
        if (!yaml_parser_parse(&parser, &event)) {
            err = parser_fault(&parser, fault);
            break;
        }
        err = check_event(&event, &depth, &documents, &anchors, fault);
        is_end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return err == 0 && documents == 0 ? ps_fault(fault, PS_E_INVALID, "", "is empty") : err;
}

int ctl_yaml_parse(const char *text, size_t len, json_t **ret_json, struct ps_fault *fault)
{
    yaml_document_t document;
    yaml_parser_t parser;
    int err = check(text, len, fault);

    if (err < 0)
        return err;
    if (!yaml_parser_initialize(&parser))
        return PS_E_NOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (!yaml_parser_load(&parser, &document)) {
        err = parser_fault(&parser, fault); /* such as an alias without an anchor */
        yaml_parser_delete(&parser);
        return err;
    }
    struct reading reading = {.document = &document, .fault = fault};
    json_t *json = read_node(&reading, 1); /* the root */
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    if (reading.err == 0)
        *ret_json = json;
    else
        json_decref(json);
    return reading.err;
}
