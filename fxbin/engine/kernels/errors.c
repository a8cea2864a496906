#include "errors.h"

#include <stdarg.h>
#include <stdio.h>

#include "fxbin_engine.h"

static _Thread_local char text[256];

int fail(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return status;
}

const char *fxbin_last_error(void) {
    return text;
}
