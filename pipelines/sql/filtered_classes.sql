-- Which classes are not trained, and why?
SELECT class_id, class_name, train_objects, valid_objects, test_objects, reason
FROM classes
WHERE NOT kept
ORDER BY class_id;
