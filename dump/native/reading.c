/* Many attributes of one object, asked for in one call. */

#include "reading.h"

static PyObject *reading(PyObject *reader, PyObject *thing)
{
    if (Py_IS_TYPE(reader, &PyGetSetDescr_Type) || Py_IS_TYPE(reader, &PyMemberDescr_Type)) {
        descrgetfunc get = (descrgetfunc)PyType_GetSlot(Py_TYPE(reader), Py_tp_descr_get);
        return get(reader, thing, (PyObject *)Py_TYPE(thing));
    }
    return PyObject_CallFunctionObjArgs(reader, thing, NULL);
}

/* 1 where one of them says yes, -1 with an exception. */
static int any_says_yes(PyObject *readers, PyObject *thing)
{
    int yes = 0;
    for (Py_ssize_t i = 0, count = PyTuple_Size(readers); i < count && !yes; i++) {
        PyObject *found = reading(PyTuple_GetItem(readers, i), thing);
        if (!found)
            return -1;
        yes = PyObject_IsTrue(found);
        Py_DECREF(found);
    }
    return yes;
}

/* Plain where it is a tuple: one of a subclass, as torch.Size is, Python's collector would follow for good. */
static PyObject *as_plain(PyObject *found)
{
    if (!found || !PyTuple_Check(found) || PyTuple_CheckExact(found))
        return found;
    PyObject *plain = PyTuple_GetSlice(found, 0, PyTuple_Size(found));
    Py_DECREF(found);
    return plain;
}

PyObject *reading_read(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    (void)module;
    if (count != 3 || !PyTuple_Check(given[1]) || !PyTuple_Check(given[2])) {
        PyErr_SetString(PyExc_TypeError, "expected an object and two tuples of readers");
        return NULL;
    }
    int refused = any_says_yes(given[1], given[0]);
    if (refused)
        return refused < 0 ? NULL : Py_BuildValue("");
    Py_ssize_t size = PyTuple_Size(given[2]);
    PyObject *all = PyTuple_New(size);
    for (Py_ssize_t i = 0; all && i < size; i++) {
        PyObject *found = as_plain(reading(PyTuple_GetItem(given[2], i), given[0]));
        if (!found)
            Py_CLEAR(all);
        else
            PyTuple_SetItem(all, i, found);
    }
    return all;
}

/* Append what each of `readers` says; 0 with an exception. */
static int read_onto(PyObject *list, PyObject *readers, PyObject *thing)
{
    int good = 1;
    for (Py_ssize_t i = 0, count = PyTuple_Size(readers); good && i < count; i++) {
        PyObject *found = reading(PyTuple_GetItem(readers, i), thing);
        good = found && PyList_Append(list, found) == 0;
        Py_XDECREF(found);
    }
    return good;
}

PyObject *reading_read_along(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    (void)module;
    if (count != 3 || !PyTuple_Check(given[2])) {
        PyErr_SetString(PyExc_TypeError, "expected an object, a reader and a tuple of readers");
        return NULL;
    }
    PyObject *list = PyList_New(0), *all = NULL, *thing = given[0];
    Py_INCREF(thing);
    while (list && thing && thing != Py_None) {
        PyObject *next = read_onto(list, given[2], thing) ? reading(given[1], thing) : NULL;
        Py_DECREF(thing);
        thing = next;
    }
    if (list && thing)
        all = PyList_AsTuple(list);
    Py_XDECREF(list);
    Py_XDECREF(thing);
    return all;
}
