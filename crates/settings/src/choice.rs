/// Declares an enum whose variants are words of the conf file, as a type that keys may have.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($variants:tt)* }) => {
        ::ossify_vocabulary::words! { $(#[$meta])* $name { $($variants)* } }
        $crate::value::word_value!($name);
    };
}
pub(crate) use choice;
