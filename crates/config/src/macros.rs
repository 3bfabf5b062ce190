//! The two declarations that types of the config are made with. Each gives the type, how it is
//! read, and its [`Shape`](crate::shape::Shape), so that none of the three can drift.

/// An object with known keys.
///
/// `shorthand "key"` lets a string stand for an object with that one key; `check` is called with the
/// entries, for what a single key cannot tell.
macro_rules! object {
    (
        $(#[doc = $doc:literal])+
        $(#[derive($($derive:ident),+)])?
        pub struct $name:ident {
            $($(#[doc = $field_doc:literal])+ $key:literal => $field:ident: $type:ty,)+
        }
        $(shorthand $short:literal)?
        $(check $check:path)?
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq $($(, $derive)+)?)]
        pub struct $name {
            $($(#[doc = $field_doc])+ pub $field: $type,)+
        }

        impl $crate::decode::Decode for $name {
            const REQUIRED: bool = false $(|| <$type as $crate::decode::Decode>::REQUIRED)+;

            fn shape() -> $crate::shape::Shape {
                let object = $crate::shape::Shape::Object($crate::shape::ObjectShape {
                    doc: concat!($($doc, "\n"),+),
                    fields: vec![$($crate::shape::Field {
                        key: $key,
                        doc: concat!($($field_doc, "\n"),+),
                        shape: <$type as $crate::decode::Decode>::shape(),
                        required: <$type as $crate::decode::Decode>::REQUIRED,
                    }),+],
                    elsewhere: $crate::openclaw::names(stringify!($name)),
                });
                $(let object = object.or_short(concat!("a string, short for {", $short, "}"));)?
                object
            }

            fn decode(node: &$crate::tree::Node, cx: &mut $crate::decode::Decoder<'_>) -> Option<Self> {
                $(
                    let long = node.shorthand($short);
                    let node = long.as_ref().unwrap_or(node);
                )?
                let entries = cx.object::<Self>(node, stringify!($name), &[$($key),+])?;
                $($check(entries, cx);)?
                $(let $field = cx.field::<$type>(node, entries, $key);)+
                Some(Self { $($field: $field?),+ })
            }

            fn missing(object: $crate::source::Span, cx: &mut $crate::decode::Decoder<'_>) -> Option<Self> {
                let empty = $crate::tree::Node { span: object, value: $crate::tree::Value::Object(Vec::new()) };
                Self::decode(&empty, cx)
            }
        }
    };
}

/// One of several strings. `otherwise` names the variant as which OpenClaw's values that have no
/// effect here are read; each warns.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        $vis:vis enum $name:ident {
            $($(#[doc = $value_doc:literal])+ $value:literal => $variant:ident,)+
        }
        $(otherwise $(#[doc = $other_doc:literal])+ $other:ident)?
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name {
            $($(#[doc = $value_doc])+ $variant,)+
            $($(#[doc = $other_doc])+ $other,)?
        }

        impl $crate::decode::Decode for $name {
            fn shape() -> $crate::shape::Shape {
                $crate::shape::Shape::Choice(vec![$(($value, concat!($($value_doc, "\n"),+))),+])
            }

            fn decode(node: &$crate::tree::Node, cx: &mut $crate::decode::Decoder<'_>) -> Option<Self> {
                let text = cx.string_now::<Self>(node)?;
                match text.as_str() {
                    $($value => Some(Self::$variant),)+
                    $(other if $crate::openclaw::names(stringify!($name)).contains(&other) => {
                        let message = format!("\"{text}\" has no effect here");
                        cx.warn(node.span, $crate::diagnostic::Diagnostic::warning(message));
                        Some(Self::$other)
                    })?
                    _ => {
                        let near = $crate::decode::nearest(&text, [$($value),+].into_iter());
                        cx.wrong_value::<Self, _>(node, near.map(|near| format!("did you mean \"{near}\"?")))
                    }
                }
            }
        }
    };
}
