/* A function written in C keeps its identity and leads to another callable: the field by which Python calls it is
   exchanged, as other code is put into a function written in Python.

   The interface that all Pythons share says nothing of that field.  `is_known` looks whether an object is laid out as
   in CPython 3.10 to 3.14 before anything is written. */

#include "builtins.h"

#include <string.h>

typedef PyObject *(*vectorcall)(PyObject *, PyObject *const *, size_t, PyObject *);

/* PyCFunctionObject */
struct builtin {
    PyObject base;
    PyMethodDef *method;
    PyObject *self, *module, *weak;
    vectorcall call;
};

/* What a redirected function has in the place of its method.  `method` comes first and is like the original but for
   its flags: see `flags_of`. */
struct redirected {
    PyMethodDef method;
    PyMethodDef *method_before;
    vectorcall call_before;
    PyObject *target;
};

#define OFFSET (~((size_t)1 << (8 * sizeof(size_t) - 1)))

/* The function in C that was called has no frame in a traceback: the outermost, which is the target's, goes. */
static void hide_one_frame(void)
{
    PyObject *type, *value, *trace, *next = NULL;
    PyErr_Fetch(&type, &value, &trace);
    if (trace && (next = PyObject_GetAttrString(trace, "tb_next"))) {
        Py_DECREF(trace);
        trace = next;
        if (trace == Py_None) {
            Py_DECREF(trace);
            trace = NULL;
        }
    }
    PyErr_Restore(type, value, trace);
}

static PyObject *through(PyObject *function, PyObject *const *given, size_t count, PyObject *names)
{
    PyObject *target = ((struct redirected *)((struct builtin *)function)->method)->target;
    PyObject *arguments, *keywords = NULL, *result = NULL;
    Py_ssize_t positional = (Py_ssize_t)(count & OFFSET), named = names ? PyTuple_Size(names) : 0;
    Py_INCREF(target); /* it may be restored meanwhile */
    if (!(arguments = PyTuple_New(positional)))
        goto done;
    for (Py_ssize_t i = 0; i < positional; i++) {
        Py_INCREF(given[i]);
        PyTuple_SetItem(arguments, i, given[i]);
    }
    if (named && !(keywords = PyDict_New()))
        goto done;
    for (Py_ssize_t i = 0; i < named; i++)
        if (PyDict_SetItem(keywords, PyTuple_GetItem(names, i), given[positional + i]))
            goto done;
    if (Py_EnterRecursiveCall(" while calling a Python object"))
        goto done;
    if (!(result = PyObject_Call(target, arguments, keywords)))
        hide_one_frame();
    Py_LeaveRecursiveCall();
done:
    Py_DECREF(target);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return result;
}

static int is_known(PyObject *function)
{
    const struct builtin *builtin = (const struct builtin *)function;
    PyObject *size, *name;
    int fits;
    if (!PyCFunction_Check(function))
        return 0;
    if (!(size = PyObject_GetAttrString((PyObject *)Py_TYPE(function), "__basicsize__")))
        return 0;
    fits = PyLong_AsSize_t(size) == sizeof *builtin;
    Py_DECREF(size);
    if (!fits || !(name = PyObject_GetAttrString(function, "__name__")))
        return 0;
    size = PyUnicode_FromString(builtin->method->ml_name);
    fits = size && PyUnicode_Compare(name, size) == 0 && builtin->method->ml_meth == PyCFunction_GetFunction(function);
    Py_DECREF(name);
    Py_XDECREF(size);
    return fits;
}

/* Python calls some kinds of functions around `call`, by those flags that say how C takes the arguments: it looks for
   just these and no others beside them.  Since 3.13 a signature is made of some of them; those stay, with one beside
   them that means nothing here. */
static int flags_of(const PyMethodDef *method)
{
    if (method->ml_flags & (METH_O | METH_NOARGS))
        return method->ml_flags | METH_COEXIST;
    return METH_KEYWORDS | (method->ml_flags & (METH_STATIC | METH_CLASS));
}

PyObject *builtins_redirect(PyObject *module, PyObject *arguments)
{
    PyObject *function, *make, *twin, *target;
    struct builtin *builtin;
    struct redirected *redirected;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO", &function, &make))
        return NULL;
    builtin = (struct builtin *)function;
    if (!is_known(function) || builtin->call == through) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "expected a function written in C that leads nowhere else");
        return NULL;
    }
    if (!(twin = PyCFunction_NewEx(builtin->method, builtin->self, builtin->module)))
        return NULL;
    target = PyObject_CallFunctionObjArgs(make, twin, NULL);
    Py_DECREF(twin);
    if (!target)
        return NULL;
    if (!(redirected = PyMem_Malloc(sizeof *redirected))) {
        Py_DECREF(target);
        return PyErr_NoMemory();
    }
    redirected->method = *builtin->method;
    redirected->method.ml_flags = flags_of(builtin->method);
    redirected->method_before = builtin->method;
    redirected->call_before = builtin->call;
    redirected->target = target;
    builtin->method = &redirected->method;
    builtin->call = through;
    Py_INCREF(function); /* it must outlive what it leads through */
    return Py_BuildValue("");
}

PyObject *builtins_restore(PyObject *module, PyObject *function)
{
    struct builtin *builtin = (struct builtin *)function;
    struct redirected *redirected;
    (void)module;
    if (!PyCFunction_Check(function) || builtin->call != through) {
        PyErr_SetString(PyExc_TypeError, "expected a function that was redirected");
        return NULL;
    }
    redirected = (struct redirected *)builtin->method;
    builtin->call = redirected->call_before;
    builtin->method = redirected->method_before;
    Py_DECREF(redirected->target);
    PyMem_Free(redirected);
    Py_DECREF(function);
    return Py_BuildValue("");
}
