//! What is to be written of an object's status: from what stands there and what we say, the smallest patch. Pure; never touches what others wrote.
